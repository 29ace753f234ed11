//! A compiled design, loaded into this process.

use crate::compile::ABI;
use crate::{Error, Model, Result, Setup};
use libloading::Library;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Direction of a port, as the design sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Driven from outside.
    Input,
    /// Driven by the design.
    Output,
    /// Both; such a port can be listed but not accessed.
    Inout,
}

/// A scalar or packed port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// Name in the source.
    pub name: String,
    /// Direction.
    pub direction: Direction,
    /// Bits.
    pub width: u32,
    /// Bytes of the storage, 0 for an array of 32-bit words.
    pub(crate) storage: u32,
}

impl fmt::Display for PortInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Input => "input",
            Direction::Output => "output",
            Direction::Inout => "inout",
        };
        write!(f, "{direction} [{}:0] {}", self.width - 1, self.name)
    }
}

/// The C interface in `cpp/model.cpp`, as plain function pointers.
#[derive(Clone, Copy)]
pub(crate) struct Interface {
    pub(crate) create: unsafe extern "C" fn(u32, i32) -> *mut c_void,
    pub(crate) destroy: unsafe extern "C" fn(*mut c_void),
    pub(crate) eval: unsafe extern "C" fn(*mut c_void, u64) -> i32,
    pub(crate) port_address: unsafe extern "C" fn(*mut c_void, u32) -> *mut c_void,
    pub(crate) output: unsafe extern "C" fn(*mut c_void, *mut u64) -> *const c_char,
    pub(crate) output_clear: unsafe extern "C" fn(*mut c_void),
    pub(crate) halt:
        unsafe extern "C" fn(*mut c_void, *mut *const c_char, *mut *const c_char) -> i32,
    pub(crate) trace_open: unsafe extern "C" fn(*mut c_void, *const c_char) -> i32,
    pub(crate) trace_dump: unsafe extern "C" fn(*mut c_void, u64) -> i32,
    pub(crate) trace_close: unsafe extern "C" fn(*mut c_void),
    pub(crate) coverage_write: unsafe extern "C" fn(*mut c_void, *const c_char) -> i32,
}

pub(crate) struct Loaded {
    pub(crate) top: String,
    pub(crate) ports: Vec<PortInfo>,
    pub(crate) interface: Interface,
    pub(crate) trace_fst: bool,
    pub(crate) coverage: bool,
    path: PathBuf,
    // Keeps the code of `interface` mapped; dropped last.
    _library: Library,
}

/// A compiled design. Cheap to clone; instances keep it alive.
#[derive(Clone)]
pub struct Design {
    pub(crate) loaded: Arc<Loaded>,
}

impl fmt::Debug for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Design")
            .field("top", &self.loaded.top)
            .field("path", &self.loaded.path)
            .finish_non_exhaustive()
    }
}

impl Design {
    pub(crate) fn load(path: &Path, top: &str) -> Result<Design> {
        let load = |source| Error::Load {
            path: path.to_path_buf(),
            source,
        };
        // SAFETY: the file is a cache entry that this crate built; its initialisers are those of
        // the Verilated runtime.
        let library = unsafe { Library::new(path) }.map_err(load)?;
        // SAFETY: these four symbols have the types given, in every version of the interface.
        let (abi, features) = unsafe {
            let abi = *library
                .get::<unsafe extern "C" fn() -> u32>(b"shim_abi")
                .map_err(load)?;
            let features = *library
                .get::<unsafe extern "C" fn() -> u32>(b"shim_features")
                .map_err(load)?;
            (abi(), features())
        };
        if abi != ABI {
            return Err(Error::Interface {
                path: path.to_path_buf(),
                problem: format!("its interface has version {abi}, wanted {ABI}"),
            });
        }
        let ports = ports(&library, path)?;
        let interface = interface(&library).map_err(load)?;
        Ok(Design {
            loaded: Arc::new(Loaded {
                top: top.to_owned(),
                ports,
                interface,
                trace_fst: features & 1 != 0,
                coverage: features & 2 != 0,
                path: path.to_path_buf(),
                _library: library,
            }),
        })
    }

    /// Name of the top module.
    pub fn top(&self) -> &str {
        &self.loaded.top
    }

    /// The ports in the order of the source's storage classes.
    pub fn ports(&self) -> &[PortInfo] {
        &self.loaded.ports
    }

    /// The shared object.
    pub fn path(&self) -> &Path {
        &self.loaded.path
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// [`Error::Interface`] when the design cannot be constructed.
    pub fn instantiate(&self, setup: &Setup) -> Result<Model> {
        Model::new(Arc::clone(&self.loaded), setup)
    }
}

fn ports(library: &Library, path: &Path) -> Result<Vec<PortInfo>> {
    let load = |source| Error::Load {
        path: path.to_path_buf(),
        source,
    };
    type PortOf = unsafe extern "C" fn(u32, *mut u32, *mut u32, *mut u32) -> *const c_char;
    // SAFETY: the version of the interface was checked, so the symbols have these types.
    let (count, port) = unsafe {
        let count = *library
            .get::<unsafe extern "C" fn() -> u32>(b"shim_port_count")
            .map_err(load)?;
        (count(), *library.get::<PortOf>(b"shim_port").map_err(load)?)
    };
    (0..count)
        .map(|index| {
            let (mut direction, mut storage, mut width) = (0, 0, 0);
            // SAFETY: `index` is below the count; the name is a static C string.
            let name =
                unsafe { CStr::from_ptr(port(index, &mut direction, &mut storage, &mut width)) };
            Ok(PortInfo {
                name: name.to_string_lossy().into_owned(),
                direction: match direction {
                    0 => Direction::Input,
                    1 => Direction::Output,
                    _ => Direction::Inout,
                },
                width,
                storage,
            })
        })
        .collect()
}

fn interface(library: &Library) -> Result<Interface, libloading::Error> {
    // SAFETY: the version of the interface was checked, so each symbol has the type of the field
    // it initialises; `Loaded` keeps the library mapped as long as the pointers exist.
    unsafe {
        Ok(Interface {
            create: *library.get(b"shim_create")?,
            destroy: *library.get(b"shim_destroy")?,
            eval: *library.get(b"shim_eval")?,
            port_address: *library.get(b"shim_port_address")?,
            output: *library.get(b"shim_output")?,
            output_clear: *library.get(b"shim_output_clear")?,
            halt: *library.get(b"shim_halt")?,
            trace_open: *library.get(b"shim_trace_open")?,
            trace_dump: *library.get(b"shim_trace_dump")?,
            trace_close: *library.get(b"shim_trace_close")?,
            coverage_write: *library.get(b"shim_coverage_write")?,
        })
    }
}
