//! Storage that fails.

use super::layers::{Kind, Layers, Setup, exact};
use super::*;
use lampyris_io::sim::{Event, SimDevice, SimOptions};

fn layers() -> Layers {
    Layers::new(Kind::Gated, Activation::Relu, TensorType::Q8_0)
}

#[test]
fn short_and_interrupted_reads_change_nothing() {
    let layers = layers();
    let expected = run(&layers, &SparseOptions::default(), &setup());
    for seed in 0..4 {
        let mut sim = SimOptions {
            seed,
            alignment: 512,
            ..SimOptions::default()
        };
        (sim.faults.short, sim.faults.interrupted, sim.faults.busy) = (0.3, 0.3, 0.2);
        let device = SimDevice::new(vec![layers.file()], 8, sim).unwrap();
        let setup = Setup {
            cache: 0.2,
            ..setup()
        };
        let mut ffn = layers
            .open_on(device, &SparseOptions::default(), &setup)
            .unwrap();
        exact(&layers.run(&mut ffn, 1).unwrap(), &expected);
    }
}

/// A device that fails from its first read after opening, and works again when told.
#[test]
fn an_error_names_the_layer_and_the_next_call_goes_on() {
    let layers = layers();
    let expected = run(&layers, &SparseOptions::default(), &setup());
    let sim = SimOptions {
        alignment: 512,
        ..SimOptions::default()
    };
    let device = SimDevice::new(vec![layers.file()], 8, sim).unwrap();
    let handle = device.handle();
    let options = SparseOptions {
        window: 0,
        ..SparseOptions::default()
    };
    let mut ffn = layers
        .open_on(
            device,
            &options,
            &Setup {
                cache: 0.2,
                ..setup()
            },
        )
        .unwrap();
    let all_fail = lampyris_io::sim::Faults {
        error: 1.0,
        ..Default::default()
    };
    for together in [1, 12] {
        handle.set_faults(all_fail);
        let error = layers.run(&mut ffn, together).unwrap_err().to_string();
        assert!(
            error.contains("blk.0.ffn") && error.contains("hint: "),
            "{error}"
        );
        handle.set_faults(Default::default());
        exact(&layers.run(&mut ffn, together).unwrap(), &expected);
    }
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let layers = layers();
    let sim = SimOptions {
        alignment: 512,
        ..SimOptions::default()
    };
    let device = SimDevice::new(vec![layers.file()], 8, sim).unwrap();
    let handle = device.handle();
    let options = SparseOptions {
        window: 0,
        ..SparseOptions::default()
    };
    let mut ffn = layers.open_on(device, &options, &setup()).unwrap();
    handle.apply(Event::Truncate {
        file: 0,
        len: 17000,
    });
    let error = layers.run(&mut ffn, 1).unwrap_err().to_string();
    assert!(error.contains("hint: "), "{error}");
}

#[test]
fn a_damaged_description_is_an_error() {
    let layers = layers();
    let sources = layers.sources();
    let wrong: [fn(&mut lampyris_pack::Bundles); 4] = [
        |b| b.up.bytes -= 1,
        |b| b.down.offset = 0,
        |b| b.bundle_bytes = 8,
        |b| b.group_neurons = 0,
    ];
    for change in wrong {
        let mut bundles = sources[0].0.clone();
        change(&mut bundles);
        let error = open::needs(
            "test",
            &[(&bundles, Activation::Relu)],
            &SparseOptions::default(),
            512,
            1,
        );
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("`blk.0.ffn`") && error.contains("hint: "),
            "{error}"
        );
    }
}
