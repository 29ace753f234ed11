//! A control group of its own for one program: a hard memory limit, a throttled disk, and the
//! kernel's account of what the program took.
//!
//! Works with version 1 (separate `memory` and `blkio` hierarchies) and version 2 of the kernel's
//! control groups; making one needs root, or a delegated group that `LAMPYRIS_CGROUP` names.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// What a program may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, page cache included.
    pub memory: Option<u64>,
    /// How fast it may read from a block device.
    pub disk: Option<Throttle>,
}

/// A limit on reads from one block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Major and minor number.
    pub device: (u32, u32),
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// Requests per second.
    pub requests_per_second: u64,
}

/// The kernel's account of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Evidence {
    /// Most memory at any time, page cache included, in bytes.
    pub peak_bytes: u64,
    /// How often the limit was hit and memory had to be reclaimed; some kernels count none.
    pub limit_hits: u64,
    /// Page faults that had to read.
    pub major_faults: u64,
    /// Programs killed for lack of memory.
    pub oom_kills: u64,
}

/// A control group, removed when dropped.
#[derive(Debug)]
pub struct Cage {
    version: Version,
    memory: PathBuf,
    /// Version 1 throttles in another hierarchy.
    disk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cage {
    /// Makes a group with these limits.
    ///
    /// # Errors
    /// The system has no usable control groups, or this user may not make one.
    pub fn new(limits: Limits) -> Result<Cage> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lampyris-{}-{number}", std::process::id());
        let (version, parent) = parent()?;
        let memory = make(&parent.join(&name))?;
        let mut cage = Cage {
            version,
            memory,
            disk: None,
        };
        if limits.disk.is_some() && version == Version::One {
            cage.disk = Some(make(&Path::new(MOUNT).join("blkio").join(&name))?);
        }
        if let Some(bytes) = limits.memory {
            cage.limit_memory(bytes)?;
        }
        if let Some(throttle) = limits.disk {
            cage.limit_disk(throttle)?;
        }
        Ok(cage)
    }

    fn limit_memory(&self, bytes: u64) -> Result<()> {
        let (limit, swap) = match self.version {
            Version::One => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            Version::Two => ("memory.max", "memory.swap.max"),
        };
        write(&self.memory.join(limit), &bytes.to_string())?;
        // No swap: a budget that spills is none. Kernels without swap accounting lack the file.
        let swap = self.memory.join(swap);
        if swap.exists() {
            let most = match self.version {
                Version::One => bytes,
                Version::Two => 0,
            };
            write(&swap, &most.to_string())?;
        }
        Ok(())
    }

    fn limit_disk(&self, throttle: Throttle) -> Result<()> {
        let Throttle {
            device: (major, minor),
            bytes_per_second: bytes,
            requests_per_second: requests,
        } = throttle;
        match &self.disk {
            Some(group) => {
                let set = |file: &str, value: u64| {
                    let line = format!("{major}:{minor} {value}");
                    write(&group.join(file), &line)
                };
                set("blkio.throttle.read_bps_device", bytes)?;
                set("blkio.throttle.read_iops_device", requests)
            }
            None => {
                let line = format!("{major}:{minor} rbps={bytes} riops={requests}");
                write(&self.memory.join("io.max"), &line)
            }
        }
    }

    /// The command inside the group: a shell joins, then becomes the program.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        let mut script = String::new();
        let groups = std::iter::once(&self.memory).chain(&self.disk);
        for (i, _) in groups.clone().enumerate() {
            // `$0` and on are the groups; the program's words follow.
            script.push_str(&format!("echo $$ > \"${i}/cgroup.procs\" && "));
        }
        let shift = groups.clone().count() - 1;
        script.push_str(&format!("shift {shift} && exec \"$@\""));
        command.arg("-c").arg(script).args(groups).arg(program);
        command
    }

    /// What the kernel counted so far.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn evidence(&self) -> Result<Evidence> {
        let read = |file: &str| {
            let path = self.memory.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
        };
        let stat = read("memory.stat")?;
        let (peak, hits, kills) = match self.version {
            Version::One => (
                number(&read("memory.max_usage_in_bytes")?)?,
                // With swap limited too, that counter is charged, and fails, first.
                number(&read("memory.failcnt")?)?
                    + read("memory.memsw.failcnt").map_or(Ok(0), |text| number(&text))?,
                keyed(&read("memory.oom_control")?, "oom_kill"),
            ),
            Version::Two => {
                let events = read("memory.events")?;
                let peak = number(&read("memory.peak")?)?;
                (peak, keyed(&events, "max"), keyed(&events, "oom_kill"))
            }
        };
        Ok(Evidence {
            peak_bytes: peak,
            limit_hits: hits,
            major_faults: keyed(&stat, "pgmajfault"),
            oom_kills: kills,
        })
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        for group in std::iter::once(&self.memory).chain(&self.disk) {
            // The last process may still be on its way out.
            for _ in 0..50 {
                if fs::remove_dir(group).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The folder to make groups in.
fn parent() -> Result<(Version, PathBuf)> {
    if let Some(group) = std::env::var_os("LAMPYRIS_CGROUP") {
        return Ok((Version::Two, group.into()));
    }
    let mount = Path::new(MOUNT);
    let one = mount.join("memory");
    if one.join("memory.limit_in_bytes").exists() || one.join("cgroup.procs").exists() {
        return Ok((Version::One, one));
    }
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if controllers.split_whitespace().any(|c| c == "memory") {
        return Ok((Version::Two, mount.into()));
    }
    bail!(
        "this system has no memory control groups in `{MOUNT}`\n\nhint: run the bench on Linux \
         with control groups mounted, or leave out the parts that limit memory (`--only memory`)"
    );
}

fn make(group: &Path) -> Result<PathBuf> {
    fs::create_dir(group).with_context(|| {
        format!(
            "cannot make the control group `{}`\n\nhint: run as root, or name a delegated group in \
             LAMPYRIS_CGROUP",
            group.display()
        )
    })?;
    Ok(group.into())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{text}` to `{}`", file.display()))
}

fn number(text: &str) -> Result<u64> {
    let text = text.trim();
    text.parse()
        .with_context(|| format!("`{text}` is not a number"))
}

/// The value after `key` in a file of `key value` lines; 0 if the kernel does not count it.
fn keyed(text: &str, key: &str) -> u64 {
    let words = |line: &'_ str| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    };
    text.lines().find_map(words).unwrap_or(0)
}

/// The block device that holds `path`, as the throttle wants it: the whole disk, not a partition.
///
/// # Errors
/// The file cannot be looked at, or lies on no block device.
#[cfg(target_os = "linux")]
pub fn disk_of(path: &Path) -> Result<(u32, u32)> {
    use std::os::linux::fs::MetadataExt;
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?;
    let device = metadata.st_dev();
    // Linux's encoding of device numbers.
    let major = ((device >> 8) & 0xfff) as u32;
    let minor = ((device & 0xff) | ((device >> 12) & 0xf_ff00)) as u32;
    let entry = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if !entry.exists() {
        bail!(
            "`{}` lies on no block device\n\nhint: put the cache (LAMPYRIS_CACHE) on a disk",
            path.display()
        );
    }
    if !entry.join("partition").exists() {
        return Ok((major, minor));
    }
    let disk = fs::canonicalize(&entry)?;
    let parent = disk.parent().context("a partition belongs to a disk")?;
    let text = fs::read_to_string(parent.join("dev"))?;
    let (major, minor) = text.trim().split_once(':').context("MAJOR:MINOR")?;
    Ok((major.parse()?, minor.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), 3);
        assert_eq!(keyed(text, "absent"), 0);
    }

    /// Needs root; elsewhere the error must say so.
    #[test]
    fn a_program_beyond_its_limit_is_stopped_and_counted() {
        let limits = Limits {
            memory: Some(64 << 20),
            disk: None,
        };
        let cage = match Cage::new(limits) {
            Ok(cage) => cage,
            Err(error) => {
                assert!(format!("{error:#}").contains("hint:"), "{error:#}");
                return;
            }
        };
        let mut small = cage.command("sh");
        assert!(small.args(["-c", "exit 0"]).status().unwrap().success());
        // Zeros without a line end: `tail` must hold all of them.
        let mut big = cage.command("sh");
        big.args(["-c", "head -c 200000000 /dev/zero | tail -n 1 > /dev/null"]);
        let status = big.stderr(std::process::Stdio::null()).status().unwrap();
        let evidence = cage.evidence().unwrap();
        assert!(!status.success() || evidence.oom_kills > 0, "{evidence:?}");
        assert!(evidence.peak_bytes <= 64 << 20, "{evidence:?}");
        assert!(evidence.limit_hits + evidence.oom_kills > 0, "{evidence:?}");
        let group = cage.memory.clone();
        drop(cage);
        assert!(!group.exists());
    }
}
