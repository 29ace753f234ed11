//! The ReLU SmolLM2, which is built from the original and the delta that this repository holds.

use crate::progress::{Step, already};
use anyhow::{Context, Result};
use lampyris_flash::Delta;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use verilator_sys::toolchain::Cache;

/// Builds the model beside its original, unless it is there with the right hash: an earlier
/// delta's result has the same name.
pub(crate) fn install(cache: &Cache, root: &Path) -> Result<()> {
    let delta = Delta::open(&root.join("tests/models/relu-smollm2/delta"))?;
    let manifest = delta.manifest();
    let target = cache.models().join(&manifest.result.file);
    if hash(&target).is_some_and(|found| found == manifest.result.sha256) {
        already(&manifest.name, "already built");
        return Ok(());
    }
    let original = cache.models().join(&manifest.original.file);
    let total = manifest.original.bytes + manifest.result.bytes;
    let step = Step::bytes(&manifest.name, "building", total);
    let mut before = 0;
    delta
        .build(&original, &target, &mut |done, _| {
            step.advance(done - before);
            before = done;
        })
        .with_context(|| format!("cannot build `{}`", target.display()))?;
    step.done("built, hash correct");
    Ok(())
}

/// SHA-256 of a file; `None` if it cannot be read.
fn hash(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
