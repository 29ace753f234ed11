//! Measures storage: how many bytes per second come for which size of read, depth of queue and
//! number of threads, in order and at random places.
//!
//! [`measure`] makes a [`Profile`], [`Profile::save`] keeps it in the cache folder under the
//! identity of the file system, and [`Profile::for_path`] finds it again, or gives documented
//! assumptions that are labelled so. What is read at random in many small pieces can take longer
//! than reading everything in order (LLM in a flash, section 3.2); the profile says from which
//! size on it does not.

mod measure;
mod profile;
mod store;
mod target;

pub use measure::{Progress, Settings, Stage, measure};
pub use profile::{Origin, Pattern, Point, Profile, Recommendation, SCHEMA_VERSION};
pub use store::device_id;
