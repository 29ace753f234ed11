//! `lampyris chat`, with `tiny` and a chat template that it does not have by itself.

use super::{check, lampyris, program};
use expect_test::expect;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

const TINY: &[u8] = include_bytes!("../../../../compiler/import/assets/tiny.gguf");

const TEMPLATE: &str = "{% for m in messages %}{% if m.content == 'never' %}\
{{ raise_exception('not that') }}{% endif %}\
{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// Writes `tiny` with a chat template among its metadata.
fn write_model(path: &Path) {
    // Magic, version, number of tensors, number of metadata entries; then the entries.
    const HEADER: usize = 24;
    const STRING: u32 = 8;
    let key = "tokenizer.chat_template";
    let mut template = TEMPLATE.to_owned();
    let entry = |template: &str| {
        let mut bytes = Vec::new();
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend(STRING.to_le_bytes());
        bytes.extend((template.len() as u64).to_le_bytes());
        bytes.extend(template.as_bytes());
        bytes
    };
    // A multiple of the alignment, so that the tensors stay where they are relative to it. Blocks
    // are trimmed, so spaces before one change nothing.
    while !entry(&template).len().is_multiple_of(32) {
        template.insert(0, ' ');
    }
    let count = u64::from_le_bytes(TINY[16..HEADER].try_into().expect("eight bytes"));
    let mut file = std::fs::File::create(path).expect("a file");
    for part in [
        &TINY[..16],
        &(count + 1).to_le_bytes(),
        &entry(&template),
        &TINY[HEADER..],
    ] {
        file.write_all(part).expect("written");
    }
}

/// Talks: `lines` are the user's.
fn talk(folder: &Path, more: &[&str], lines: &str) -> Output {
    write_model(&folder.join("chatty.gguf"));
    let mut child = program::lampyris()
        .args(["chat", "chatty.gguf", "--max-tokens", "6"])
        .args(more)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(lines.as_bytes()).expect("written");
    drop(input);
    child.wait_with_output().expect("it ends")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn turns_follow_each_other_and_reuse_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = talk(folder.path(), &["-v"], "Hello there\nAnd then?\n");
    let both = stdout(&output);
    let notes = String::from_utf8_lossy(&output.stderr);
    let figures: Vec<_> = notes
        .lines()
        .filter(|l| l.starts_with("prefill "))
        .collect();
    assert_eq!(figures.len(), 2, "{notes}");
    assert!(!figures[0].contains("remembered"), "{notes}");
    assert!(figures[1].contains(" remembered)"), "{notes}");
    // The first answer does not depend on what follows; the second depends on the first.
    let first = stdout(&talk(folder.path(), &[], "Hello there\n"));
    assert!(
        both.starts_with(&first) && both.len() > first.len(),
        "{both}"
    );
    // Forgotten: as if it began anew.
    let output = talk(
        folder.path(),
        &[],
        "Hello there\n/clear\nHello there\n\n/quit\nnever\n",
    );
    assert_eq!(stdout(&output), first.repeat(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the conversation is forgotten"));
}

#[test]
fn what_the_template_refuses_ends_a_script() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = talk(folder.path(), &["--system", "Be brief."], "never\n");
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(
        shown.contains("refuses these messages: not that"),
        "{shown}"
    );
}

#[test]
fn a_model_without_a_template_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    check(
        folder.path(),
        &["chat", "tiny"],
        &expect![[r#"
            exit code 1
            --- stdout
            --- stderr
            error: the model has no chat template

            hint: use `lampyris run` to continue plain text, or the instruction-tuned version of the model
        "#]],
    );
}

#[test]
fn run_takes_a_chat_message_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let talked = stdout(&talk(folder.path(), &[], "Hello there\n"));
    let args = [
        "run",
        "chatty.gguf",
        "--chat",
        "-p",
        "Hello there",
        "--max-tokens",
        "6",
    ];
    assert_eq!(stdout(&lampyris(folder.path(), &args)), talked);
}
