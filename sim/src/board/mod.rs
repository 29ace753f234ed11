//! A board at the end of the host link, real or simulated, as a [`Device`].

mod port;

pub use port::SimPort;

use crate::device::{Device, Limits, Outcome};
use crate::error::{Result, SimError};
use lampyris_isa::{HwConfig, csr};
use lampyris_link::{Link, Transport};
use std::cell::RefCell;

/// Between two looks at the cycle counter, so many at the status.
const LOOKS: u32 = 16;

/// An accelerator behind a link.
pub struct BoardDevice<T: Transport> {
    // Reading memory does not change the device, but it does use the link.
    link: RefCell<Link<T>>,
    config: HwConfig,
}

impl<T: Transport> BoardDevice<T> {
    /// Opens the link; `config` is what the board is expected to be.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub fn open(transport: T, config: HwConfig) -> Result<Self> {
        Ok(BoardDevice {
            link: RefCell::new(Link::open(transport)?),
            config,
        })
    }

    /// The link.
    pub fn link(&mut self) -> &mut Link<T> {
        self.link.get_mut()
    }

    /// Resets the accelerator, whatever state it is in. The memory keeps its contents.
    ///
    /// # Errors
    /// As [`Link::reset_core`].
    pub fn reset(&mut self) -> Result<()> {
        Ok(self.link().reset_core()?)
    }

    fn cycles(&mut self) -> Result<u64> {
        let low = self.read_register(csr::COUNTER)?;
        Ok(u64::from(low) | u64::from(self.read_register(csr::COUNTER + 4)?) << 32)
    }

    /// How the program ended, if it has.
    fn outcome(&mut self) -> Result<Option<Outcome>> {
        let status = self.read_register(csr::STATUS)?;
        let code = (status >> 8) as u8;
        if code != 0 {
            let pc = self.read_register(csr::ERROR_PC)?;
            return Ok(Some(Outcome::Raised {
                code,
                pc,
                detail: String::new(),
            }));
        }
        if status & 2 != 0 {
            let code = self.read_register(csr::HALT_CODE)?;
            return Ok(Some(Outcome::Halted(code as u16)));
        }
        Ok(None)
    }
}

impl<T: Transport> Device for BoardDevice<T> {
    fn config(&self) -> &HwConfig {
        &self.config
    }

    fn read_memory(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        Ok(self.link.borrow_mut().read_memory(addr, out)?)
    }

    fn write_memory(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        Ok(self.link().write_memory(addr, data)?)
    }

    fn read_register(&mut self, offset: u32) -> Result<u32> {
        Ok(self.link().read_csr(offset)?)
    }

    fn write_register(&mut self, offset: u32, value: u32) -> Result<()> {
        Ok(self.link().write_csr(offset, value)?)
    }

    fn run(&mut self, limits: &Limits) -> Result<Outcome> {
        loop {
            for _ in 0..LOOKS {
                if let Some(outcome) = self.outcome()? {
                    return Ok(outcome);
                }
            }
            let used = self.cycles()?;
            if used > limits.cycles {
                return Err(SimError::Limit {
                    used,
                    unit: "cycles",
                });
            }
        }
    }
}
