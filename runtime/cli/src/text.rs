//! Prompts: plain text or chat turns in the model's own template.

use crate::output::WrongUsage;
use anyhow::{Context, Result, bail};
use lampyris_import::saved::TextTools;
use lampyris_import::template::Message;

/// What the user asks.
#[derive(clap::Args)]
pub(crate) struct Prompt {
    /// Text to continue
    #[arg(long, short)]
    pub(crate) prompt: String,
    #[command(flatten)]
    style: Style,
}

/// How the prompt is meant.
#[derive(clap::Args)]
pub(crate) struct Style {
    /// Treat the prompt as a user's chat message, in the model's chat template
    #[arg(long)]
    chat: bool,
    /// System message of the chat
    #[arg(long, requires = "chat")]
    system: Option<String>,
}

impl Prompt {
    /// Token ids of the prompt.
    pub(crate) fn encode(&self, tools: &TextTools) -> Result<Vec<u32>> {
        self.style.encode(tools, &self.prompt)
    }
}

impl Style {
    /// Token ids of a prompt.
    pub(crate) fn encode(&self, tools: &TextTools, prompt: &str) -> Result<Vec<u32>> {
        let ids = if self.chat {
            let mut messages = opening(self.system.as_deref());
            messages.push(Message::new("user", prompt));
            encode_chat(tools, &messages)?
        } else {
            tools.tokenizer.encode(prompt, true).context("prompt")?
        };
        if ids.is_empty() {
            let message = "the prompt has no tokens\n\nhint: give some text with --prompt";
            return Err(WrongUsage(message.into()).into());
        }
        Ok(ids)
    }
}

/// What a chat begins with.
pub(crate) fn opening(system: Option<&str>) -> Vec<Message> {
    system
        .map(|text| Message::new("system", text))
        .into_iter()
        .collect()
}

/// Token ids of a chat up to where the assistant answers.
pub(crate) fn encode_chat(tools: &TextTools, messages: &[Message]) -> Result<Vec<u32>> {
    let Some(template) = &tools.template else {
        bail!("the model has no chat template\n\nhint: leave out --chat to continue plain text");
    };
    let text = template.render(messages, true)?;
    Ok(tools.tokenizer.encode(&text, false)?)
}
