//! What lies where in the memory of a compiled model, for monitors of its traffic.

use crate::image::{FloatSource, Floats, Image, Item, Matrix, Run};
use crate::kv::Rotation;
use crate::lower::{CacheMap, DataMap};
use lampyris_bundle::{Content, ContentKind, Role};

/// Constants and cache in address order.
pub(crate) fn contents(image: &Image, data: &DataMap) -> Vec<Content> {
    let items = image.items.iter().map(|item| match item {
        Item::Matrix(matrix) => of_matrix(matrix, image),
        Item::Floats(floats) => of_floats(floats, image),
        Item::Rotation(rotation) => of_rotation(rotation),
    });
    let caches = image.runs.iter().zip(&data.cache).map(of_cache);
    items.chain(caches).collect()
}

fn of_matrix(matrix: &Matrix, image: &Image) -> Content {
    let role = match (
        matrix.addr == image.embedding.addr,
        matrix.addr == image.head.addr,
    ) {
        (true, true) => Role::Tied,
        (true, false) => Role::Embedding,
        (false, _) => Role::Product,
    };
    Content {
        name: matrix.tensor.name.clone(),
        base: matrix.addr,
        bytes: matrix.bytes(),
        kind: ContentKind::Matrix {
            bits: matrix.format.field_bits() as u8,
            sparsity: matrix.format.sparsity as u8,
            role,
        },
    }
}

fn of_rotation(rotation: &Rotation) -> Content {
    Content {
        name: format!("rotation.{}", rotation.dim),
        base: rotation.addr,
        bytes: rotation.bytes(),
        kind: ContentKind::Matrix {
            bits: rotation.bits as u8,
            sparsity: 0,
            role: Role::Product,
        },
    }
}

fn of_floats(floats: &Floats, image: &Image) -> Content {
    let positions = image.positions.as_ref().map(|(table, _)| table.addr);
    let (name, kind) = match &floats.source {
        FloatSource::Tensor(tensor) if positions == Some(floats.addr) => {
            (tensor.name.clone(), ContentKind::Table)
        }
        FloatSource::Tensor(tensor) => (tensor.name.clone(), ContentKind::Vector),
        FloatSource::RopeTable { step: 1, .. } => ("rope".to_owned(), ContentKind::Table),
        FloatSource::RopeTable { .. } => ("rope_high".to_owned(), ContentKind::Table),
        FloatSource::Values(_) => ("constants".to_owned(), ContentKind::Vector),
    };
    Content {
        name,
        base: floats.addr,
        bytes: 4 * floats.len as u64,
        kind,
    }
}

fn of_cache((run, map): (&Run, &CacheMap)) -> Content {
    Content {
        name: format!("cache.{}-{}", run.first, run.first + run.count - 1),
        base: map.base,
        bytes: map.layer_bytes * run.count as u64,
        kind: ContentKind::Cache {
            key_bytes: map.key_bytes,
            value_bytes: map.value_bytes,
            scale_bytes: map.scale_bytes,
            bits: map.bits as u8,
        },
    }
}
