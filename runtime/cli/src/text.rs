//! Prompts: plain text or a chat turn in the model's own template.

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
        let ids = if self.chat {
            let Some(template) = &tools.template else {
                bail!(
                    "the model has no chat template\n\nhint: leave out --chat to continue plain text"
                );
            };
            let mut messages = Vec::new();
            messages.extend(
                self.system
                    .iter()
                    .map(|s| Message::new("system", s.as_str())),
            );
            messages.push(Message::new("user", self.prompt.as_str()));
            let text = template.render(&messages, true)?;
            tools.tokenizer.encode(&text, false)?
        } else {
            tools
                .tokenizer
                .encode(&self.prompt, true)
                .context("prompt")?
        };
        if ids.is_empty() {
            let message = "the prompt has no tokens\n\nhint: give some text with --prompt";
            return Err(WrongUsage(message.into()).into());
        }
        Ok(ids)
    }
}
