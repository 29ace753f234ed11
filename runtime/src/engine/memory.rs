//! What the process uses already.

use std::fs;

/// Memory of this process as the operating system counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProcessMemory {
    /// Resident now: heap, stacks, touched code and mapped file pages.
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl ProcessMemory {
    /// Asks the operating system; `None` where it does not say (other than Linux).
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self {
            resident: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let memory = ProcessMemory::parse(status).unwrap();
        assert_eq!((memory.resident, memory.peak), (1 << 20, 2 << 20));
        assert_eq!(ProcessMemory::parse("VmRSS: what"), None);
    }
}
