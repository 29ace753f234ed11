//! The parts of a bundle and where they come from, in the format of CycloneDX 1.5.

use lampyris_bundle::Manifest;
use serde::Deserialize;
use serde_json::{Value, json};
use verilator_sys::toolchain::Pins;

/// The crates that this program was built from.
const LOCK: &str = include_str!("../../../../../Cargo.lock");

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The document for a bundle, before its own entry is in the manifest.
pub(super) fn document(manifest: &Manifest) -> Value {
    let mut components = vec![json!({
        "type": "machine-learning-model",
        "name": manifest.model.name,
        "description": format!("{} with {} parameters", manifest.model.architecture, manifest.model.parameters),
    })];
    components.extend(tools(manifest));
    components.extend(crates());
    components.extend(manifest.files.iter().map(|file| {
        json!({
            "type": "file",
            "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        })
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "name": "lampyris bundle",
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "components": components,
    })
}

/// The programs that made the bitstream, with the hashes of the packages that are allowed.
fn tools(manifest: &Manifest) -> impl Iterator<Item = Value> {
    let build = manifest.build.iter();
    build.flat_map(|build| &build.tools).map(|(name, version)| {
        let hashes: Vec<_> = Pins::get()
            .python(name)
            .into_iter()
            .flat_map(|pin| &pin.sha256)
            .map(|hash| json!({"alg": "SHA-256", "content": hash}))
            .collect();
        json!({
            "type": "application",
            "name": name,
            "version": version,
            "purl": format!("pkg:pypi/{name}@{version}"),
            "hashes": hashes,
        })
    })
}

/// The crates of this program.
fn crates() -> impl Iterator<Item = Value> {
    // Part of the program text, and read by a unit test: it cannot fail at a user's.
    let lock: Lock = toml::from_str(LOCK).expect("Cargo.lock is valid");
    lock.package.into_iter().map(|package| {
        let Package {
            name,
            version,
            checksum,
        } = package;
        let hashes: Vec<_> = checksum
            .iter()
            .map(|hash| json!({"alg": "SHA-256", "content": hash}))
            .collect();
        json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "hashes": hashes,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_is_listed_with_its_origin() {
        let all: Vec<_> = crates().collect();
        let ours = all.iter().find(|c| c["name"] == "lampyris-isa");
        assert_eq!(ours.expect("ours")["hashes"], json!([]));
        let serde = all.iter().find(|c| c["name"] == "serde").expect("a crate");
        assert!(
            serde["purl"]
                .as_str()
                .is_some_and(|p| p.starts_with("pkg:cargo/serde@1."))
        );
        assert_eq!(
            serde["hashes"][0]["content"].as_str().map(str::len),
            Some(64)
        );
    }
}
