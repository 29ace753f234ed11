//! The smoke test finds the step at which a faulty device first differs.

use lampyris_bundle::{Bundle, RegionKind};
use lampyris_isa::{HwConfig, csr};
use lampyris_sim::golden::{Golden, record};
use lampyris_sim::smoke::{Fault, Step, run};
use lampyris_sim::{Device, Limits, Memory, Model, Outcome, Result};
use lampyris_tests::compile_without_text;

/// Memory of the devices, as on a board with room to spare.
const BYTES: u64 = 4 << 20;

/// A device with a fault.
struct Faulty {
    device: Model,
    fault: Box<dyn Fn(u64) -> u64>,
    /// A register that reads wrong.
    register: Option<u32>,
    /// Called before a program runs.
    before: Box<dyn FnMut(&mut Model)>,
}

impl Faulty {
    fn new() -> Faulty {
        let mut memory = Memory::new();
        memory.add_zeroed("board", 0, BYTES).expect("memory");
        Faulty {
            device: Model::new(HwConfig::SMALL, memory).expect("a model"),
            fault: Box::new(|addr| addr),
            register: None,
            before: Box::new(|_| {}),
        }
    }
}

impl Device for Faulty {
    fn config(&self) -> &HwConfig {
        self.device.config()
    }

    fn read_memory(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        for (i, byte) in out.iter_mut().enumerate() {
            let mut one = [0];
            self.device
                .read_memory((self.fault)(addr + i as u64), &mut one)?;
            *byte = one[0];
        }
        Ok(())
    }

    fn write_memory(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        for (i, byte) in data.iter().enumerate() {
            let at = (self.fault)(addr + i as u64);
            self.device.write_memory(at, &[*byte])?;
        }
        Ok(())
    }

    fn read_register(&mut self, offset: u32) -> Result<u32> {
        let value = self.device.read_register(offset)?;
        Ok(if self.register == Some(offset) {
            value ^ 4
        } else {
            value
        })
    }

    fn write_register(&mut self, offset: u32, value: u32) -> Result<()> {
        self.device.write_register(offset, value)
    }

    fn run(&mut self, limits: &Limits) -> Result<Outcome> {
        (self.before)(&mut self.device);
        self.device.run(limits)
    }
}

fn first_fault(bundle: &Bundle, golden: &Golden, device: &mut Faulty) -> Option<Fault> {
    run(bundle, golden, device, BYTES, &mut |_| {}).expect("the device answers")
}

#[test]
fn a_right_device_passes_every_step_and_faults_are_placed() {
    let model = lampyris_import::open("tiny").expect("the embedded model");
    let compiled = compile_without_text(&model, HwConfig::SMALL, 64);
    let bundle = &compiled.bundle;
    let golden = record(bundle).expect("the model computes");
    assert!(!golden.cache.is_empty());

    let mut steps = Vec::new();
    let outcome = run(bundle, &golden, &mut Faulty::new(), BYTES, &mut |step| {
        steps.push(step)
    });
    assert_eq!(
        (outcome.expect("no error"), steps),
        (None, Step::ALL.to_vec())
    );

    // Another configuration.
    let mut device = Faulty::new();
    device.register = Some(csr::CONFIG_HASH);
    let fault = first_fault(bundle, &golden, &mut device).expect("a fault");
    assert_eq!(fault.step, Step::Registers);
    assert!(
        fault.message.starts_with("CONFIG_HASH is"),
        "{}",
        fault.message
    );

    // Address line 16 is stuck at zero.
    let mut device = Faulty::new();
    device.fault = Box::new(|addr| addr & !(1 << 16));
    let fault = first_fault(bundle, &golden, &mut device).expect("a fault");
    assert_eq!(fault.step, Step::Memory);
    assert!(
        fault.message.contains("the value of 0x10000"),
        "{}",
        fault.message
    );

    // A weight changes in memory before each run; small programs do not use it.
    let weights = bundle
        .manifest
        .region(RegionKind::Weights)
        .expect("weights");
    let mut device = Faulty::new();
    device.before = Box::new(move |model| {
        let at = weights.base + weights.bytes / 16;
        let mut line = [0; 64];
        model.read_memory(at, &mut line).expect("mapped");
        line.iter_mut().for_each(|byte| *byte ^= 0x40);
        model.write_memory(at, &line).expect("mapped");
    });
    let fault = first_fault(bundle, &golden, &mut device).expect("a fault");
    assert!(fault.step as u8 > Step::Load as u8, "{fault:?}");

    // The program halts with another code.
    let mut device = Faulty::new();
    device.register = Some(csr::RES);
    let fault = first_fault(bundle, &golden, &mut device).expect("a fault");
    assert_eq!(fault.step, Step::Token);
    assert!(fault.message.contains("next token is"), "{}", fault.message);
}
