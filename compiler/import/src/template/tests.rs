use jiff::civil::date;

use super::*;

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
    let noon = date(2026, 3, 9).at(12, 0, 0, 0);
    let now = noon.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    ChatTemplate::new(source, "<s>", "</s>")?.render_at(messages, true, &now)
}

fn user(text: &str) -> [Message; 1] {
    [Message::new("user", text)]
}

#[test]
fn chatml_with_its_default_system_message() {
    assert_eq!(
        render(CHATML, &user("Hi <b> & \"you\"")).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b> & \"you\"<|im_end|>\n<|im_start|>assistant\n"
    );
    let template = ChatTemplate::new(CHATML, "", "").unwrap();
    let messages = [Message::new("system", "S"), Message::new("user", "U")];
    assert_eq!(
        template.render(&messages, false).unwrap(),
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
    );
}

#[test]
fn blocks_are_trimmed_and_python_methods_work() {
    let source = "{{ bos_token }}\n{%- for m in messages %}\n    {% if m.role.upper().startswith('USER') %}\n[{{ m['content'].strip().split(',')[0] | trim }}]{{ eos_token }}\n    {% endif %}\n{% endfor %}";
    assert_eq!(
        render(source, &user("  a b ,c ")).unwrap(),
        "<s>[a b]</s>\n"
    );
}

#[test]
fn namespace_slices_and_loop_controls_work() {
    let source = "{% set ns = namespace(n=0) %}{% for m in messages[1:] %}{% if m.role == 'stop' %}{% break %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }} {{ messages[::-1][0].content }}";
    let messages = ["system", "a", "b", "stop", "c"].map(|r| Message::new(r, r));
    assert_eq!(render(source, &messages).unwrap(), "2 c");
}

#[test]
fn tojson_writes_like_python() {
    assert_eq!(
        render("{{ messages | tojson }}", &user("<é> \"q\"")).unwrap(),
        r#"[{"role": "user", "content": "<é> \"q\""}]"#
    );
    assert_eq!(
        render("{{ {'a': [1, true]} | tojson(indent=2) }}", &[]).unwrap(),
        "{\n  \"a\": [\n    1,\n    true\n  ]\n}"
    );
    assert!(render("{{ 1 | tojson(indent=99) }}", &[]).is_err());
}

#[test]
fn dates_come_from_the_clock() {
    let source = "{{ strftime_now('%d %b %Y') }}";
    assert_eq!(render(source, &[]).unwrap(), "09 Mar 2026");
    let error = render("{{ strftime_now('%!') }}", &[]).unwrap_err();
    assert!(error.to_string().contains("strftime_now"), "{error}");
}

#[test]
fn a_refusal_is_told_in_the_template_s_words() {
    let source = "{% if messages[0].role != 'user' %}\n{{ raise_exception('Conversation must start with user') }}{% endif %}ok";
    assert_eq!(render(source, &user("x")).unwrap(), "ok");
    let error = render(source, &[Message::new("assistant", "x")]).unwrap_err();
    assert!(
        matches!(&error, TemplateError::Refused { message } if message == "Conversation must start with user"),
        "{error}"
    );
}

#[test]
fn unusable_templates_are_errors() {
    let error = render("a\n{% if %}", &[]).unwrap_err();
    assert!(matches!(error, TemplateError::Syntax { .. }), "{error}");
    assert!(error.to_string().contains("line 2"), "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
    // A tag of one fine-tuning framework only: not known, so not usable.
    assert!(render("{% generation %}x{% endgeneration %}", &[]).is_err());
    let error = render("{{ messages[0].content.nothing.more }}", &user("x")).unwrap_err();
    assert!(matches!(error, TemplateError::Render { .. }), "{error}");
}

#[test]
fn an_endless_template_is_stopped() {
    let loops = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
    let error = render(loops, &[]).unwrap_err();
    assert!(matches!(error, TemplateError::Render { .. }), "{error}");
}

#[test]
fn hugging_face_files() {
    let load = |config: &str, jinja: Option<&str>| {
        ChatTemplate::from_tokenizer_config(config.as_bytes(), jinja)?.render(&user("U"), true)
    };
    let config = r#"{"bos_token": {"content": "<B>"}, "eos_token": "<E>", "chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"}"#;
    assert_eq!(load(config, None).unwrap(), "<B>U<E>");
    assert_eq!(
        load(config, Some("file {{ bos_token }}")).unwrap(),
        "file <B>"
    );
    let list = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(load(list, None).unwrap(), "d");
    let list = r#"{"chat_template": [{"name": "rag", "template": "t"}]}"#;
    let error = load(list, None).unwrap_err().to_string();
    assert!(error.contains("rag"), "{error}");
    assert!(matches!(load("{}", None), Err(TemplateError::Missing)));
    assert!(load("{", None).is_err());
    assert!(load(r#"{"chat_template": 3}"#, None).is_err());
}
