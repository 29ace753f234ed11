//! `lampyris chat`: messages and answers in turn, in the model's own template.
//!
//! Each turn sends the whole conversation again; the engine evaluates only what its cache does not
//! hold already.

use super::generation::generate;
use super::{Sampling, summary};
use crate::commands::engine::{EngineArgs, Prepared};
use crate::interrupt::{self, Interrupt};
use crate::output::{note, print, print_error};
use crate::text::{encode_chat, opening};
use anyhow::{Context, Result, bail};
use lampyris_import::saved::TextTools;
use lampyris_import::template::Message;
use lampyris_runtime::Sampler;
use lampyris_runtime::engine::Engine;
use lampyris_serve::{Finish, Generate};
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file, Hugging Face directory, or packed file, with a chat template
    model: String,
    /// System message: what the assistant should be
    #[arg(long)]
    system: Option<String>,
    #[command(flatten)]
    sampling: Sampling,
    /// Most tokens of one answer [default: what the context has room for]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Show after each answer what it took
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

const HELP: &str = "\
/clear   forget the conversation
/help    this list
/quit    end (as Ctrl-D)
Ctrl-C   stop an answer; at the prompt: end";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let sampler = args.sampling.sampler()?;
    let interrupt = Interrupt::install()?;
    let prepared = Prepared::open(&args.model, args.engine.options(0), &args.engine.more)?;
    if prepared.tools.template.is_none() {
        bail!(
            "the model has no chat template\n\nhint: use `lampyris run` to continue plain text, or the instruction-tuned version of the model"
        );
    }
    let (engine, tools) = prepared.load_with_plan()?;
    let interactive = std::io::stdin().is_terminal();
    if interactive {
        note("write a message; /help lists what else there is");
    }
    Conversation {
        args,
        engine,
        tools,
        sampler,
        interrupt,
        interactive,
        messages: opening(args.system.as_deref()),
    }
    .run()
}

struct Conversation<'a> {
    args: &'a Args,
    engine: Engine,
    tools: TextTools,
    sampler: Sampler,
    interrupt: Interrupt,
    /// Someone sits at a terminal.
    interactive: bool,
    messages: Vec<Message>,
}

impl Conversation<'_> {
    fn run(mut self) -> Result<ExitCode> {
        while let Some(line) = self.read()? {
            match line.trim() {
                "" => {}
                "/quit" | "/exit" => break,
                "/help" => note(HELP),
                "/clear" => {
                    self.messages = opening(self.args.system.as_deref());
                    note("the conversation is forgotten");
                }
                command if command.starts_with('/') && !command.contains(' ') => {
                    note(&format!("{command} is not known; /help lists what is"));
                }
                text => {
                    if let Some(code) = self.turn(text)? {
                        return Ok(code);
                    }
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The next line; `None` at the end of the input.
    fn read(&self) -> Result<Option<String>> {
        if self.interactive {
            let mut err = std::io::stderr().lock();
            // A terminal that is gone shows itself when the line is read.
            let _ = err.write_all(b"> ").and_then(|()| err.flush());
        }
        let mut line = String::new();
        let n = std::io::stdin()
            .lock()
            .read_line(&mut line)
            .context("the messages cannot be read")?;
        Ok((n > 0).then_some(line))
    }

    /// One message and its answer; an exit code if it was the last.
    fn turn(&mut self, text: &str) -> Result<Option<ExitCode>> {
        self.messages.push(Message::new("user", text));
        match self.answer() {
            Ok(code) => Ok(code),
            // A message that the template or the context refuses can be put otherwise.
            Err(error) if self.interactive => {
                print_error(&error);
                self.messages.pop();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn answer(&mut self) -> Result<Option<ExitCode>> {
        let prompt = encode_chat(&self.tools, &self.messages)?;
        let context = Generate::context(&self.engine);
        if prompt.len() >= context && self.args.engine.options(0).ring.is_none() {
            bail!(
                "the conversation has {} tokens, the context {context}\n\nhint: /clear forgets it; --context makes room for more, --sinks goes on without end",
                prompt.len()
            );
        }
        let room = context.saturating_sub(prompt.len()).max(1);
        let most = self.args.max_tokens.map_or(room, |n| n as usize);
        let ran = generate(
            &mut self.engine,
            &self.tools,
            &mut self.sampler,
            (prompt, most),
            &self.interrupt,
            &mut |_, text| print(text),
        )?;
        print("\n");
        if self.args.verbose {
            summary(&ran, self.args.engine.memory);
        }
        let cut = ran.finish == Finish::Cancelled;
        self.messages.push(Message::new("assistant", ran.text));
        if cut && !self.interactive {
            return Ok(self.interrupt.signal().map(interrupt::code));
        }
        self.interrupt.forget();
        Ok(None)
    }
}
