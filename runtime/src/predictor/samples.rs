//! Recorded activity: what each layer's FFN saw and which neurons were active.
//!
//! Recording spills to a temporary file, so that memory holds one layer at a time however much
//! text there is. Inputs are kept as binary16, activity as bits.

use half::{f16, slice::HalfFloatSliceExt};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why activity could not be recorded or read back.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The temporary file failed.
    #[error(
        "cannot keep recorded activity in a temporary file in `{}`: {source}\nhint: record fewer tokens, or write the output to a disk with more room",
        folder.display()
    )]
    Spill {
        /// Folder of the temporary file.
        folder: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// An input cannot be trained on.
    #[error(
        "layer {layer} saw a value that is not finite\nhint: the model's weights are damaged, or the text drives it out of range"
    )]
    NotFinite {
        /// Layer.
        layer: usize,
    },
    /// Too little was recorded.
    #[error(
        "{found} tokens of activity are too few to train on; {least} are needed\nhint: give a longer calibration text"
    )]
    TooFew {
        /// Tokens recorded.
        found: usize,
        /// Least number.
        least: usize,
    },
}

/// Sizes of a layer's FFN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Elements of the input.
    pub inputs: usize,
    /// Neurons.
    pub neurons: usize,
}

impl LayerShape {
    fn input_bytes(&self) -> usize {
        self.inputs * 2
    }

    fn mask_bytes(&self) -> usize {
        self.neurons.div_ceil(8)
    }
}

/// Writes activity while a model runs.
#[derive(Debug)]
pub struct Recorder {
    spill: Spill,
    /// Tokens whose input and whose activity were written, for each layer.
    written: Vec<(usize, usize)>,
    scratch: Vec<u8>,
}

/// Activity of all layers, to be read one layer at a time.
#[derive(Debug)]
pub struct Samples {
    spill: Spill,
    tokens: usize,
}

/// The activity of one layer.
#[derive(Debug)]
pub struct Activity {
    /// Sizes.
    pub shape: LayerShape,
    /// Inputs, `[tokens, inputs]`.
    inputs: Vec<f16>,
    /// `[tokens, mask_bytes]`, lowest bit first.
    masks: Vec<u8>,
}

#[derive(Debug)]
struct Spill {
    file: File,
    folder: PathBuf,
    shapes: Vec<LayerShape>,
    /// Room for this many tokens in each layer.
    capacity: usize,
    /// Where each layer begins; its inputs first, then its masks.
    starts: Vec<u64>,
}

impl Spill {
    fn error(&self, source: io::Error) -> SamplesError {
        SamplesError::Spill {
            folder: self.folder.clone(),
            source,
        }
    }

    fn masks_at(&self, layer: usize) -> u64 {
        self.starts[layer] + (self.capacity * self.shapes[layer].input_bytes()) as u64
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), SamplesError> {
        let result = self.file.seek(SeekFrom::Start(at));
        let result = result.and_then(|_| self.file.write_all(data));
        result.map_err(|e| self.error(e))
    }

    /// Reads through a handle of its own: layers are trained by several threads.
    fn read(&self, at: u64, data: &mut [u8]) -> Result<(), SamplesError> {
        read_at(&self.file, at, data).map_err(|e| self.error(e))
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, data: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, data, at)
}

#[cfg(not(unix))]
fn read_at(file: &File, at: u64, data: &mut [u8]) -> io::Result<()> {
    // Handles share their position here, so that only one thread may read.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut file = file;
    file.seek(SeekFrom::Start(at))?;
    io::Read::read_exact(&mut file, data)
}

impl Recorder {
    /// Room for `capacity` tokens of each layer, in a temporary file in `folder` that vanishes
    /// with the recorder or its samples.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(
        folder: &Path,
        shapes: Vec<LayerShape>,
        capacity: usize,
    ) -> Result<Self, SamplesError> {
        let file = tempfile::tempfile_in(folder).map_err(|source| SamplesError::Spill {
            folder: folder.to_owned(),
            source,
        })?;
        let mut at = 0;
        let mut starts = Vec::with_capacity(shapes.len());
        for shape in &shapes {
            starts.push(at);
            at += (capacity * (shape.input_bytes() + shape.mask_bytes())) as u64;
        }
        Ok(Self {
            written: vec![(0, 0); shapes.len()],
            scratch: Vec::new(),
            spill: Spill {
                file,
                folder: folder.to_owned(),
                shapes,
                capacity,
                starts,
            },
        })
    }

    /// Appends inputs of a layer, `[tokens, inputs]`. Tokens beyond the capacity are left out.
    ///
    /// # Errors
    /// A value that is not finite; a full disk.
    pub fn inputs(&mut self, layer: usize, x: &[f32]) -> Result<(), SamplesError> {
        let shape = self.spill.shapes[layer];
        let done = self.written[layer].0;
        let tokens = (x.len() / shape.inputs).min(self.spill.capacity - done);
        self.scratch.clear();
        for &v in &x[..tokens * shape.inputs] {
            if !v.is_finite() {
                return Err(SamplesError::NotFinite { layer });
            }
            let v = v.clamp(f16::MIN.to_f32(), f16::MAX.to_f32());
            self.scratch.extend(f16::from_f32(v).to_le_bytes());
        }
        let at = self.spill.starts[layer] + (done * shape.input_bytes()) as u64;
        self.spill.write(at, &self.scratch)?;
        self.written[layer].0 += tokens;
        Ok(())
    }

    /// Appends the activity of a layer: neurons whose magnitude in `values`, `[tokens, neurons]`,
    /// is above `threshold`. Tokens beyond the capacity are left out.
    ///
    /// # Errors
    /// A full disk.
    pub fn activity(
        &mut self,
        layer: usize,
        values: &[f32],
        threshold: f32,
    ) -> Result<(), SamplesError> {
        let shape = self.spill.shapes[layer];
        let done = self.written[layer].1;
        let tokens = (values.len() / shape.neurons).min(self.spill.capacity - done);
        self.scratch.clear();
        for token in values.chunks_exact(shape.neurons).take(tokens) {
            for group in token.chunks(8) {
                let bits = group.iter().enumerate();
                self.scratch
                    .push(bits.fold(0, |byte, (i, v)| byte | u8::from(v.abs() > threshold) << i));
            }
        }
        let at = self.spill.masks_at(layer) + (done * shape.mask_bytes()) as u64;
        self.spill.write(at, &self.scratch)?;
        self.written[layer].1 += tokens;
        Ok(())
    }

    /// Whether every layer has as many tokens as there is room for.
    pub fn is_full(&self) -> bool {
        let full = self.spill.capacity;
        self.written
            .iter()
            .all(|&(x, mask)| x == full && mask == full)
    }

    /// Ends recording.
    ///
    /// # Errors
    /// Fewer than `least` tokens in some layer.
    pub fn finish(self, least: usize) -> Result<Samples, SamplesError> {
        let both = self.written.iter().flat_map(|&(x, mask)| [x, mask]);
        let tokens = both.min().unwrap_or(0);
        if tokens < least {
            return Err(SamplesError::TooFew {
                found: tokens,
                least,
            });
        }
        Ok(Samples {
            spill: self.spill,
            tokens,
        })
    }
}

impl Samples {
    /// Tokens recorded.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Sizes of the layers.
    pub fn shapes(&self) -> &[LayerShape] {
        &self.spill.shapes
    }

    /// Reads one layer.
    ///
    /// # Errors
    /// If the temporary file cannot be read.
    pub fn layer(&self, layer: usize) -> Result<Activity, SamplesError> {
        let shape = self.spill.shapes[layer];
        let mut bytes = vec![0; self.tokens * shape.input_bytes()];
        self.spill.read(self.spill.starts[layer], &mut bytes)?;
        let pairs = bytes.as_chunks::<2>().0.iter();
        let inputs = pairs.map(|&b| f16::from_le_bytes(b)).collect();
        let mut masks = vec![0; self.tokens * shape.mask_bytes()];
        self.spill.read(self.spill.masks_at(layer), &mut masks)?;
        Ok(Activity {
            shape,
            inputs,
            masks,
        })
    }
}

impl Activity {
    /// Tokens.
    pub fn tokens(&self) -> usize {
        self.inputs.len() / self.shape.inputs.max(1)
    }

    /// The input of `token`.
    pub fn copy_input(&self, token: usize, out: &mut [f32]) {
        let n = self.shape.inputs;
        self.inputs[token * n..][..n].convert_to_f32_slice(out);
    }

    /// Whether `neuron` was active at `token`.
    pub fn is_active(&self, token: usize, neuron: usize) -> bool {
        let byte = self.masks[token * self.shape.mask_bytes() + neuron / 8];
        byte >> (neuron % 8) & 1 == 1
    }

    /// Active neurons of `token`, ascending.
    pub fn active(&self, token: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.shape.neurons).filter(move |&n| self.is_active(token, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<LayerShape> {
        vec![
            LayerShape {
                inputs: 3,
                neurons: 9,
            },
            LayerShape {
                inputs: 3,
                neurons: 4,
            },
        ]
    }

    #[test]
    fn what_was_recorded_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(folder.path(), shapes(), 3).unwrap();
        recorder.inputs(0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let mut values = [0.0; 18];
        (values[8], values[9], values[10]) = (0.2, -0.3, 0.05);
        recorder.activity(0, &values, 0.1).unwrap();
        // Two more tokens, of which one fits.
        recorder.inputs(0, &[7.0, 1e9, 9.0, 0.0, 0.0, 0.0]).unwrap();
        recorder.activity(0, &[1.0; 18], 0.1).unwrap();
        assert!(!recorder.is_full());
        for _ in 0..3 {
            recorder.inputs(1, &[0.5; 3]).unwrap();
            recorder.activity(1, &[0.0, 0.0, 1.0, 0.0], 0.0).unwrap();
        }
        assert!(recorder.is_full());
        let samples = recorder.finish(3).unwrap();
        let layer = samples.layer(0).unwrap();
        assert_eq!((samples.tokens(), layer.tokens()), (3, 3));
        let mut x = [0.0; 3];
        layer.copy_input(1, &mut x);
        assert_eq!(x, [4.0, 5.0, 6.0]);
        layer.copy_input(2, &mut x);
        assert_eq!(x, [7.0, 65504.0, 9.0]);
        assert_eq!(layer.active(0).collect::<Vec<_>>(), [8]);
        assert_eq!(layer.active(1).collect::<Vec<_>>(), [0]);
        assert_eq!(layer.active(2).count(), 9);
        assert_eq!(samples.layer(1).unwrap().active(2).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn bad_values_and_short_texts_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(folder.path(), shapes(), 3).unwrap();
        let error = recorder.inputs(1, &[0.0, f32::NAN, 0.0]).unwrap_err();
        assert!(error.to_string().starts_with("layer 1 saw"), "{error}");
        let error = recorder.finish(1).unwrap_err();
        assert!(matches!(error, SamplesError::TooFew { found: 0, least: 1 }));
    }
}
