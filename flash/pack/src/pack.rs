//! Writing packed files.
//!
//! [`Plan`] decides where everything will lie, without reading weights; [`Plan::write`] streams
//! the source through buffers of fixed size into `FILE.part`, section by section, and renames it
//! when it is complete. A journal beside it remembers finished sections: a run that was ended, by
//! whatever, continues there, and gives the same bytes.

mod bundle;
mod journal;
mod layout;
mod plan;
mod sink;
mod statistics;
mod write;

pub use plan::{Forecast, Plan};
pub use statistics::Statistics;
pub use write::{Report, Requantized, free_bytes};

use crate::container::Layout;
use lampyris_flash::TensorType;

/// What can be chosen.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How FFNs lie; `None`: bundled for models with ReLU, whose neurons are mostly idle, dense
    /// for others.
    pub layout: Option<Layout>,
    /// Element format of the columns of the down matrix in bundles; `None`: that of the source if
    /// it has no blocks, else Q8_0.
    pub down_type: Option<TensorType>,
    /// Bytes that one read of neurons should have; `None`: 64 KiB.
    pub group_bytes: Option<usize>,
    /// Activity of neurons, to put the busy ones first.
    pub statistics: Option<Statistics>,
}
