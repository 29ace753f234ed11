//! FFNs as row-column bundles ("LLM in a flash", section 3.2): everything that one neuron needs
//! lies together, so that one read fetches it.

use lampyris_flash::TensorType;

/// One of the vectors in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Element format.
    pub ty: TensorType,
    /// First byte within the bundle.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
}

/// The FFN of one layer, neuron by neuron.
///
/// A *position* is a neuron's place in the file; its *id* is its row in the model's up matrix.
/// Groups of `group_neurons` bundles begin at multiples of `group_bytes`; within a group, bundles
/// lie `bundle_bytes` apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundles {
    /// Name, for messages: `blk.3.ffn`.
    pub name: String,
    /// Neurons.
    pub neurons: usize,
    /// Elements of each part: the width of the residual stream.
    pub width: usize,
    /// The neuron's row of the gate matrix, if the FFN is gated.
    pub gate: Option<Part>,
    /// The neuron's row of the up matrix.
    pub up: Part,
    /// The neuron's column of the down matrix.
    pub down: Part,
    /// Distance of bundles within a group.
    pub bundle_bytes: usize,
    /// Neurons in a group; the last group may have fewer.
    pub group_neurons: usize,
    /// Distance of groups.
    pub group_bytes: usize,
    /// Index into [`ModelIndex::files`](crate::ModelIndex::files).
    pub file: usize,
    /// First byte in that file, a multiple of 16 KiB.
    pub offset: u64,
    /// Position to id; `None` where they are equal.
    pub order: Option<Vec<u32>>,
    /// Bias of the gate projection, by id.
    pub gate_bias: Option<Vec<f32>>,
    /// Bias of the up projection, by id.
    pub up_bias: Option<Vec<f32>>,
    /// Bias of the down projection, one for each element of the residual stream.
    pub down_bias: Option<Vec<f32>>,
    /// RMS error of the stored down matrix relative to the source's RMS; 0 if it is exact.
    pub down_error: f32,
}

impl Bundles {
    /// Offset in the file of the bundle at `position`.
    pub fn place(&self, position: usize) -> u64 {
        let group = (position / self.group_neurons) as u64 * self.group_bytes as u64;
        let within = (position % self.group_neurons) as u64 * self.bundle_bytes as u64;
        self.offset + group + within
    }

    /// The id of the neuron at `position`.
    pub fn id(&self, position: usize) -> usize {
        self.order
            .as_ref()
            .map_or(position, |order| order[position] as usize)
    }

    /// Id to position.
    pub fn positions(&self) -> Vec<u32> {
        let mut positions = vec![0; self.neurons];
        for position in 0..self.neurons {
            positions[self.id(position)] = position as u32;
        }
        positions
    }

    /// Bytes from the first to past the last bundle.
    pub fn bytes(&self) -> u64 {
        match self.neurons {
            0 => 0,
            n => self.place(n - 1) - self.offset + self.bundle_bytes as u64,
        }
    }
}
