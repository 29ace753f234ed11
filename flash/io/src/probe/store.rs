//! Profiles in the cache folder, one file for each file system.

use super::profile::{Profile, SCHEMA_VERSION};
use crate::error::{Error, Result};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The identity of the file system that holds `path`: its id and its size, since not every file
/// system has an id of its own that survives a restart.
///
/// # Errors
/// If the path does not exist or cannot be examined.
pub fn device_id(path: &Path) -> Result<String> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(path).map_err(|e| Error::open(path)(io::Error::from(e)))?;
        let bytes = found.f_blocks.wrapping_mul(found.f_frsize);
        Ok(format!("{:x}-{bytes:x}", found.f_fsid))
    }
    #[cfg(not(unix))]
    {
        fs::metadata(path).map_err(Error::open(path))?;
        Ok("unknown".into())
    }
}

fn file(cache: &Path, device: &str) -> PathBuf {
    cache.join("storage").join(format!("{device}.json"))
}

impl Profile {
    /// What is known of the storage that holds `path`: the profile that was saved in `cache`, or
    /// assumptions (see [`Profile::assumed`]).
    ///
    /// # Errors
    /// If the path does not exist, or a saved profile is damaged or of another version.
    pub fn for_path(cache: &Path, path: &Path) -> Result<Profile> {
        let device = device_id(path)?;
        let name = file(cache, &device);
        let text = match fs::read(&name) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Profile::assumed(&device, &path.display().to_string()));
            }
            Err(e) => return Err(Error::open(&name)(e)),
        };
        let damaged = |problem: String| Error::Profile {
            path: name.clone(),
            problem,
        };
        // The version first: other versions have other fields.
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        let version = value["schema_version"].as_u64();
        if version != Some(u64::from(SCHEMA_VERSION)) {
            let version = version.map_or("none".into(), |v| v.to_string());
            let problem = format!("its version is {version}, wanted {SCHEMA_VERSION}");
            return Err(damaged(problem));
        }
        let profile: Profile = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        if profile.device != device {
            return Err(damaged(format!("it describes `{}`", profile.device)));
        }
        Ok(profile)
    }

    /// Saves the profile for its file system in `cache`, whole or not at all; returns the file.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, cache: &Path) -> Result<PathBuf> {
        let name = file(cache, &self.device);
        let folder = name.parent().unwrap_or(cache);
        let failed = |source| Error::Write {
            path: name.clone(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        temporary.write_all(&text).map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        temporary.persist(&name).map_err(|e| failed(e.error))?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Origin;

    #[test]
    fn profiles_come_back_and_damage_is_reported() {
        let cache = tempfile::tempdir().expect("a folder");
        let path = cache.path();
        let assumed = Profile::for_path(path, path).expect("assumptions");
        assert_eq!(assumed.origin, Origin::Assumed);
        let mut measured = assumed.clone();
        measured.origin = Origin::Measured;
        measured.points[0].bytes_per_second = 12345;
        let name = measured.save(path).expect("saved");
        assert_eq!(Profile::for_path(path, path).expect("loads"), measured);
        measured.save(path).expect("saved over the old one");

        for (text, says) in [
            ("{", "EOF"),
            ("{}", "its version is none, wanted 1"),
            ("{\"schema_version\": 99}", "its version is 99"),
            ("{\"schema_version\": 1}", "missing field"),
        ] {
            fs::write(&name, text).expect("writes");
            let error = Profile::for_path(path, path)
                .expect_err("damaged")
                .to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains("hint: measure again"), "{error}");
        }
    }

    #[test]
    fn other_devices_and_missing_paths_are_errors() {
        let cache = tempfile::tempdir().expect("a folder");
        let path = cache.path();
        let mut foreign = Profile::assumed("elsewhere", "p");
        let own = device_id(path).expect("an id");
        fs::create_dir(path.join("storage")).expect("a folder");
        let text = serde_json::to_vec(&foreign).expect("JSON");
        fs::write(file(path, &own), text).expect("writes");
        let error = Profile::for_path(path, path)
            .expect_err("not ours")
            .to_string();
        assert!(error.contains("it describes `elsewhere`"), "{error}");
        let missing = path.join("missing");
        assert!(Profile::for_path(path, &missing).is_err());
        fs::write(&missing, "a file").expect("writes");
        foreign.device = "x".into();
        let error = foreign.save(&missing).expect_err("no folder").to_string();
        assert!(error.contains("cannot write `"), "{error}");
    }
}
