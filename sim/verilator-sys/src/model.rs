//! One instance of a design: ports, evaluation, waveforms, coverage.

use crate::design::{Interface, Loaded};
use crate::{Direction, Error, Halt, HaltKind, PortInfo, Result};
use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How an instance starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Setup {
    /// Seed of the initial state, for designs built with
    /// [`InitialState::Random`](crate::InitialState::Random). Zero is a seed like any other.
    pub seed: u32,
}

#[derive(Clone, Copy)]
struct Port {
    address: *mut u8,
    storage: u32,
    width: u32,
    /// Bits that a value may have, for ports up to 64 bits.
    mask: u64,
    /// First bit, for parts of ports of up to 64 bits.
    shift: u32,
    owner: u64,
}

// SAFETY: a `Port` is only dereferenced by the `Model` that owns the storage: `owner` is compared
// on each access and owners are never used twice. Alone it is plain data.
unsafe impl Send for Port {}
// SAFETY: as above.
unsafe impl Sync for Port {}

impl Port {
    /// `width` bits from bit `low`.
    fn part(self, low: u32, width: u32) -> Port {
        let inside = width > 0 && low.checked_add(width).is_some_and(|end| end <= self.width);
        assert!(
            inside,
            "bits {low} and on, {width} of them, of a port of {}",
            self.width
        );
        let mask = u64::MAX >> 64u32.saturating_sub(width).min(63);
        if self.storage != 0 {
            return Port {
                width,
                mask,
                shift: self.shift + low,
                ..self
            };
        }
        assert!(
            low.is_multiple_of(32) && width.is_multiple_of(32) && width > 64,
            "parts of wide ports are wide and whole words"
        );
        // SAFETY: the storage holds the words of `self.width` bits, and the part lies within.
        let address = unsafe { self.address.add(low as usize / 8) };
        Port {
            address,
            width,
            mask,
            ..self
        }
    }
}

/// Handle of an input port of one [`Model`].
#[derive(Clone, Copy)]
pub struct Input(Port);

/// Handle of an output port of one [`Model`].
#[derive(Clone, Copy)]
pub struct Output(Port);

impl Input {
    /// Bits.
    pub fn width(self) -> u32 {
        self.0.width
    }

    /// The `width` bits from bit `low` on, as a port of their own.
    ///
    /// # Panics
    /// Bits beyond the port; a part of a port of more than 64 bits that is not more than 64 bits
    /// of whole words.
    pub fn part(self, low: u32, width: u32) -> Input {
        Input(self.0.part(low, width))
    }
}

impl Output {
    /// Bits.
    pub fn width(self) -> u32 {
        self.0.width
    }

    /// As [`Input::part`].
    ///
    /// # Panics
    /// As [`Input::part`].
    pub fn part(self, low: u32, width: u32) -> Output {
        Output(self.0.part(low, width))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} bits)", self.0.width)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} bits)", self.0.width)
    }
}

/// The word behind a port of at most 64 bits.
///
/// # Safety
/// `address` is that of `storage` bytes, aligned to their number, that nobody writes now.
#[inline]
unsafe fn load(address: *const u8, storage: u32) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        match storage {
            1 => u64::from(*address),
            2 => u64::from(*address.cast::<u16>()),
            4 => u64::from(*address.cast::<u32>()),
            _ => *address.cast::<u64>(),
        }
    }
}

/// One instance of a [`Design`](crate::Design).
///
/// The user drives the clock. Evaluate once with the clock low before the first rising edge:
/// Verilator takes the first evaluation's values as the state before it, so an edge there is lost.
///
/// Time counts half clock periods ([`Model::set_time`]), so that cycle `c` is the times `2c` and
/// `2c + 1`.
pub struct Model {
    loaded: Arc<Loaded>,
    // A copy, so that an evaluation follows one pointer less.
    interface: Interface,
    instance: NonNull<c_void>,
    id: u64,
    time: u64,
    /// Cycles to record; empty when no file is open.
    window: Range<u64>,
    halt: Option<Box<Halt>>,
}

// SAFETY: an instance has its own Verilated context; what the runtime keeps per thread is set at
// the start of each call. Nothing is shared with other instances.
unsafe impl Send for Model {}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("top", &self.loaded.top)
            .field("time", &self.time)
            .field("halt", &self.halt)
            .finish_non_exhaustive()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the instance came from `create` and is destroyed once.
        unsafe { (self.interface.destroy)(self.instance.as_ptr()) }
    }
}

impl Model {
    pub(crate) fn new(loaded: Arc<Loaded>, setup: &Setup) -> Result<Model> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let interface = loaded.interface;
        // SAFETY: the interface belongs to `loaded`, which the model keeps.
        let instance = unsafe { (interface.create)(context_seed(setup.seed), 1) };
        let instance = NonNull::new(instance).ok_or_else(|| Error::Argument {
            what: format!("design `{}`", loaded.top),
            problem: "its constructor failed".into(),
            hint: "an initial block ends the simulation, or memory ran out",
        })?;
        Ok(Model {
            interface,
            instance,
            loaded,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            time: 0,
            window: 0..0,
            halt: None,
        })
    }

    /// Name of the top module.
    pub fn top(&self) -> &str {
        &self.loaded.top
    }

    /// The design's ports.
    pub fn ports(&self) -> &[PortInfo] {
        &self.loaded.ports
    }

    /// The input `name`, which must be `width` bits wide.
    ///
    /// # Errors
    /// [`Error::Port`], listing the ports that exist.
    pub fn input(&self, name: &str, width: u32) -> Result<Input> {
        self.port(name, width, Direction::Input).map(Input)
    }

    /// The output `name`, which must be `width` bits wide.
    ///
    /// # Errors
    /// [`Error::Port`], listing the ports that exist.
    pub fn output(&self, name: &str, width: u32) -> Result<Output> {
        self.port(name, width, Direction::Output).map(Output)
    }

    fn port(&self, name: &str, width: u32, direction: Direction) -> Result<Port> {
        let ports = &self.loaded.ports;
        let refuse = |problem: String| Error::Port {
            port: name.to_owned(),
            top: self.loaded.top.clone(),
            problem,
            known: ports
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        let index = ports
            .iter()
            .position(|port| port.name == name)
            .ok_or_else(|| refuse("no scalar or packed port has this name".into()))?;
        let info = &ports[index];
        if info.direction != direction || info.width != width {
            return Err(refuse(format!(
                "wanted {direction:?} of {width} bits, the design has `{info}`"
            )));
        }
        // SAFETY: the instance is alive and `index` counts the design's own ports.
        let address =
            unsafe { (self.interface.port_address)(self.instance.as_ptr(), index as u32) };
        Ok(Port {
            address: address.cast(),
            storage: info.storage,
            width,
            mask: u64::MAX >> 64u32.saturating_sub(width).min(63),
            shift: 0,
            owner: self.id,
        })
    }

    /// Value of an output of at most 64 bits.
    ///
    /// # Panics
    /// When the port belongs to another model or is wider.
    #[inline]
    pub fn get(&self, port: Output) -> u64 {
        let Port {
            address,
            storage,
            owner,
            width,
            mask,
            shift,
        } = port.0;
        assert!(
            owner == self.id && width <= 64,
            "port of another model, or wider than 64 bits"
        );
        // SAFETY: `owner` says that the storage belongs to this live instance. Verilator aligns
        // it to its size; it is written only by calls that take `&mut self`. Ports of 33 to 64
        // bits have 8 bytes of storage, so no `width` up to 64 has storage 0.
        let word = unsafe { load(address, storage) };
        word >> shift & mask
    }

    /// Sets an input of at most 64 bits; takes effect at the next evaluation.
    ///
    /// # Panics
    /// When the port belongs to another model or is wider, or the value does not fit.
    #[inline]
    pub fn set(&mut self, port: Input, value: u64) {
        let Port {
            address,
            storage,
            mask,
            owner,
            width,
            shift,
        } = port.0;
        assert!(
            owner == self.id && width <= 64,
            "port of another model, or wider than 64 bits"
        );
        assert!(
            value & !mask == 0,
            "value {value:#x} does not fit a port of {width} bits"
        );
        // SAFETY: as in `get`; `&mut self` excludes readers. The value fits, because the storage
        // is at least as wide as the mask.
        unsafe {
            let value = (load(address, storage) & !(mask << shift)) | value << shift;
            match storage {
                1 => *address = value as u8,
                2 => *address.cast::<u16>() = value as u16,
                4 => *address.cast::<u32>() = value as u32,
                _ => *address.cast::<u64>() = value,
            }
        }
    }

    /// Reads an output wider than 64 bits into 32-bit words, least significant first.
    ///
    /// # Panics
    /// When the port belongs to another model or `words` is not exactly as long as the port.
    #[inline]
    pub fn get_words(&self, port: Output, words: &mut [u32]) {
        self.check_words(&port.0, words.len());
        // SAFETY: the storage holds `width.div_ceil(32)` words (checked when the design was
        // built) of this live instance, and `words` as many.
        unsafe {
            ptr::copy_nonoverlapping(port.0.address.cast(), words.as_mut_ptr(), words.len());
        }
    }

    /// Sets an input wider than 64 bits from 32-bit words, least significant first.
    ///
    /// # Panics
    /// When the port belongs to another model, `words` is not exactly as long as the port, or
    /// bits beyond the port's width are set.
    #[inline]
    pub fn set_words(&mut self, port: Input, words: &[u32]) {
        self.check_words(&port.0, words.len());
        let spare = words.len() as u32 * 32 - port.0.width;
        let last = words[words.len() - 1];
        assert!(
            last & !(u32::MAX >> spare) == 0,
            "value does not fit {} bits",
            port.0.width
        );
        // SAFETY: as in `get_words`; `&mut self` excludes readers.
        unsafe {
            ptr::copy_nonoverlapping(words.as_ptr(), port.0.address.cast(), words.len());
        }
    }

    #[inline]
    fn check_words(&self, port: &Port, words: usize) {
        assert!(
            port.owner == self.id && port.storage == 0 && words == port.width.div_ceil(32) as usize,
            "port of another model, of at most 64 bits, or with another count of words"
        );
    }

    /// Settles the design after inputs have changed.
    ///
    /// # Errors
    /// [`Error::Halt`] when the design ended the simulation, then and ever after.
    #[inline]
    pub fn eval(&mut self) -> Result<()> {
        if self.halt.is_some() {
            return self.halted(0);
        }
        // SAFETY: the instance is alive and `&mut self` makes the call exclusive.
        let status = unsafe { (self.interface.eval)(self.instance.as_ptr(), self.time) };
        if status == 0 {
            Ok(())
        } else {
            self.halted(status)
        }
    }

    /// Notes the halt that `status` announces and returns it.
    #[cold]
    fn halted(&mut self, status: i32) -> Result<()> {
        if self.halt.is_none() {
            let (mut file, mut message) = (ptr::null(), ptr::null());
            // SAFETY: the instance is alive; both strings live until its next call and are copied.
            let (line, file, message) = unsafe {
                let line = (self.interface.halt)(self.instance.as_ptr(), &mut file, &mut message);
                (line, CStr::from_ptr(file), CStr::from_ptr(message))
            };
            let text = self.take_output() + &message.to_string_lossy();
            self.halt = Some(Box::new(Halt {
                top: self.loaded.top.clone(),
                kind: match status {
                    1 => HaltKind::Finish,
                    2 => HaltKind::Stop,
                    _ => HaltKind::Fatal,
                },
                file: file.to_string_lossy().into_owned(),
                line: u32::try_from(line).unwrap_or(0),
                time: self.time,
                message: text,
            }));
        }
        match &self.halt {
            Some(halt) => Err(Error::Halt(halt.clone())),
            None => Ok(()),
        }
    }

    /// What the design has printed since the last call (at most 1 MiB is kept).
    pub fn take_output(&mut self) -> String {
        let mut length = 0;
        // SAFETY: the text has `length` bytes and lives until the next call on the instance; it
        // is copied before it is cleared.
        unsafe {
            let text = (self.interface.output)(self.instance.as_ptr(), &mut length);
            let bytes = std::slice::from_raw_parts(text.cast::<u8>(), length as usize);
            let text = String::from_utf8_lossy(bytes).into_owned();
            (self.interface.output_clear)(self.instance.as_ptr());
            text
        }
    }

    /// Time in half clock periods.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Sets the time that `$time`, waveforms and halts show from the next evaluation on.
    #[inline]
    pub fn set_time(&mut self, half_periods: u64) {
        self.time = half_periods;
    }

    /// Opens an FST file that records the cycles of `window`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] without [`Build::trace_fst`](crate::Build::trace_fst), [`Error::Io`]
    /// when the file cannot be created, [`Error::Argument`] for an unusable path.
    pub fn trace_open(&mut self, path: &Path, window: Range<u64>) -> Result<()> {
        if !self.loaded.trace_fst {
            return Err(self.not_built("waveforms", "trace_fst"));
        }
        let name = c_path(path)?;
        // The runtime reports a failure to create the file by ending the process' stream only, so
        // the folder and its permissions are tried first.
        std::fs::File::create(path).map_err(Error::io("create", path))?;
        // SAFETY: the instance is alive and was built with waveforms; the name outlives the call.
        let status = unsafe { (self.interface.trace_open)(self.instance.as_ptr(), name.as_ptr()) };
        if status != 0 {
            let source = std::io::Error::other("the waveform writer refused it");
            return Err(Error::io("open", path)(source));
        }
        self.window = window;
        Ok(())
    }

    /// Records the present values when the present cycle lies in the window; closes the file
    /// once it is past. Call after each evaluation.
    ///
    /// # Errors
    /// [`Error::Halt`] when the runtime fails.
    #[inline]
    pub fn trace_dump(&mut self) -> Result<()> {
        let cycle = self.time / 2;
        if self.window.contains(&cycle) {
            // SAFETY: the instance is alive, and a non-empty window means an open file.
            let status = unsafe { (self.interface.trace_dump)(self.instance.as_ptr(), self.time) };
            return if status == 0 || self.halt.is_some() {
                Ok(())
            } else {
                self.halted(status)
            };
        }
        if cycle >= self.window.end && !self.window.is_empty() {
            self.trace_close();
        }
        Ok(())
    }

    /// Finishes the FST file; dropping the model does so as well.
    pub fn trace_close(&mut self) {
        self.window = 0..0;
        // SAFETY: the instance is alive; closing twice, or without a file, does nothing.
        unsafe { (self.interface.trace_close)(self.instance.as_ptr()) }
    }

    /// Writes the coverage counters in Verilator's text format.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] without [`Build::coverage`](crate::Build::coverage), [`Error::Io`] when
    /// the file cannot be created, [`Error::Argument`] for an unusable path.
    pub fn coverage_write(&mut self, path: &Path) -> Result<()> {
        if !self.loaded.coverage {
            return Err(self.not_built("coverage", "coverage"));
        }
        let name = c_path(path)?;
        std::fs::File::create(path).map_err(Error::io("create", path))?;
        // SAFETY: the instance is alive; the name outlives the call.
        let status =
            unsafe { (self.interface.coverage_write)(self.instance.as_ptr(), name.as_ptr()) };
        if status == 0 || self.halt.is_some() {
            Ok(())
        } else {
            self.halted(status)
        }
    }

    #[cold]
    fn not_built(&self, feature: &'static str, setting: &'static str) -> Error {
        Error::NotBuilt {
            top: self.loaded.top.clone(),
            feature,
            setting,
        }
    }
}

/// The runtime takes a seed of zero as "choose one", so seeds are mapped past it: 31 bits, never
/// zero.
fn context_seed(seed: u32) -> u32 {
    // An odd multiplier permutes the seeds, so that neighbours start far apart.
    (seed.wrapping_mul(0x9e37_79b1) & 0x7fff_ffff).max(1)
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Error::Argument {
        what: format!("path `{}`", path.display()),
        problem: "it holds a zero byte".into(),
        hint: "choose another file name",
    })
}
