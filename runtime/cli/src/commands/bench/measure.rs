//! One model with one configuration, measured.

use super::report::{Sample, Subject};
use super::{Args, Test};
use crate::commands::engine::Prepared;
use crate::interrupt::Interrupt;
use anyhow::Result;
use lampyris_runtime::engine::{Engine, Options};
use lampyris_runtime::{Sampler, SamplerConfig};
use lampyris_serve::{Ask, Generate};
use std::ops::ControlFlow;
use std::time::Instant;

/// An open engine and the tokens that it is given.
pub(super) struct Bench {
    engine: Engine,
    random: u64,
}

impl Bench {
    /// Opens the model.
    pub(super) fn open(
        args: &Args,
        tests: &[Test],
        budget: Option<u64>,
        threads: usize,
    ) -> Result<(Self, Subject)> {
        let longest = tests.iter().map(|t| t.tokens() as usize).max().unwrap_or(1);
        let options = Options {
            memory: budget,
            threads,
            // The token that the last one predicts needs no position.
            context: longest + 1,
            ..args.engine.options()
        };
        let (engine, _) = Prepared::open(&args.model, options, &args.engine)?.load()?;
        let subject = Subject::new(&engine);
        let bench = Self { engine, random: 1 };
        Ok((bench, subject))
    }

    /// Runs `test` once for warmth and then `repetitions` times.
    pub(super) fn measure(
        &mut self,
        test: Test,
        repetitions: u16,
        interrupt: &Interrupt,
        step: &dyn Fn(),
    ) -> Result<Vec<Sample>> {
        interrupt.during(|| {
            self.once(test, interrupt)?;
            let mut samples = Vec::new();
            for _ in 0..repetitions {
                if interrupt.raised() {
                    break;
                }
                samples.push(self.once(test, interrupt)?);
                step();
            }
            Ok(samples)
        })
    }

    fn once(&mut self, test: Test, interrupt: &Interrupt) -> Result<Sample> {
        let (prompt, make) = match test {
            Test::Prompt(n) => (n, 1),
            Test::Generate(n) => (1, n),
        };
        let prompt: Vec<u32> = (0..prompt).map(|_| self.token()).collect();
        let mut sampler = Sampler::new(SamplerConfig::default())?;
        self.engine.reset();
        let before = self.engine.counters();
        let start = Instant::now();
        let asked = self.engine_ask(&prompt, make as usize, &mut sampler, interrupt);
        let seconds = start.elapsed().as_secs_f64();
        asked?;
        let after = self.engine.counters();
        Ok(Sample {
            tokens: test.tokens(),
            seconds,
            read_bytes: after.read_bytes - before.read_bytes,
            wait_seconds: after.wait_seconds - before.wait_seconds,
            peak_rss_bytes: after.peak_rss_bytes,
        })
    }

    fn engine_ask(
        &mut self,
        prompt: &[u32],
        max_tokens: usize,
        sampler: &mut Sampler,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let ask = Ask {
            prompt,
            max_tokens,
            sampler,
            is_end: &|_| false,
            on_token: &mut |_| ControlFlow::Continue(()),
            cancelled: &|| interrupt.raised(),
        };
        let outcome = Generate::generate(&mut self.engine, ask);
        outcome.map(drop).map_err(anyhow::Error::from_boxed)
    }

    /// Any token; the sequence is the same in every run (SplitMix64).
    fn token(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let vocab = self.engine.spec().vocab_size as u64;
        ((z ^ (z >> 31)) % vocab) as u32
    }
}
