//! What became of the model: formats, bytes and perplexity, as text or JSON.

use super::super::JSON_SCHEMA;
use crate::output::{bytes, grouped, table};
use anyhow::Result;
use lampyris_compiler::format::tiles;
use lampyris_compress::{Allocation, Budget, Matrix, Plan, Written};
use lampyris_flash::TensorType;
use lampyris_isa::HwConfig;
use lampyris_isa::format::{BLOCK, TILE_ROWS};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything that was measured.
pub(super) struct Report<'p> {
    pub(super) plan: &'p Plan<'p>,
    /// Tokens that were judged.
    pub(super) tokens: u64,
    /// Perplexity of the source.
    pub(super) before: f64,
    pub(super) outcomes: Vec<Outcome>,
}

/// One budget.
pub(super) struct Outcome {
    pub(super) budget: Budget,
    pub(super) allocation: Allocation,
    pub(super) written: Written,
    pub(super) perplexity: f64,
}

/// Bits that the accelerator reads for each weight of a matrix: tiles with scales and minima, and
/// index bits. Types that it cannot hold as they are become 8-bit ones.
fn accelerator_bits(ty: TensorType) -> f64 {
    let format = tiles(ty, &HwConfig::BASE).expect("`base` has every format");
    let columns = BLOCK * format.sparsity.span();
    8.0 * format.tile_bytes() as f64 / (TILE_ROWS * columns) as f64
}

impl Report<'_> {
    fn loss(&self, outcome: &Outcome) -> f64 {
        outcome.perplexity / self.before - 1.0
    }

    fn source_bits(&self) -> f64 {
        let stored: Vec<_> = self.plan.matrices().iter().map(|m| m.stored).collect();
        self.plan.bits_per_weight(&stored)
    }

    /// Size of the source as this command would write it.
    pub(super) fn source_bytes(&self) -> Result<u64> {
        let stored: Vec<_> = self.plan.matrices().iter().map(|m| m.stored).collect();
        Ok(self.plan.file_bytes(&stored)?)
    }

    /// Mean over the weights of the matrices.
    fn accelerator(&self, formats: impl Iterator<Item = TensorType>) -> f64 {
        let (mut bits, mut weights) = (0.0, 0.0);
        for (matrix, ty) in self.plan.matrices().iter().zip(formats) {
            bits += accelerator_bits(ty) * matrix.weights() as f64;
            weights += matrix.weights() as f64;
        }
        bits / weights
    }

    pub(super) fn text(&self) -> Result<String> {
        let mut text = String::new();
        if let [outcome] = &self.outcomes[..] {
            text.push_str(&self.kinds(outcome));
            text.push('\n');
        }
        let head = [
            "",
            "file",
            "bits/weight",
            "accelerator",
            "perplexity",
            "loss",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        let stored = self.plan.matrices().iter().map(|m| m.stored);
        rows.push(vec![
            "source".into(),
            grouped(self.source_bytes()?),
            format!("{:.3}", self.source_bits()),
            format!("{:.3}", self.accelerator(stored)),
            format!("{:.3}", self.before),
            "-".into(),
        ]);
        for outcome in &self.outcomes {
            rows.push(vec![
                label(outcome.budget),
                grouped(outcome.written.file_bytes),
                format!("{:.3}", self.bits(outcome)),
                format!("{:.3}", self.accelerator_of(outcome)),
                format!("{:.3}", outcome.perplexity),
                format!("{:+.2} %", self.loss(outcome) * 100.0),
            ]);
        }
        text.push_str(&table(&rows));
        text.push_str(&format!(
            "perplexity on {} tokens of other text; bits of all tensors, scales and indices included\n",
            self.tokens
        ));
        for outcome in &self.outcomes {
            for line in self.remarks(outcome) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        Ok(text)
    }

    fn bits(&self, outcome: &Outcome) -> f64 {
        outcome.written.tensor_bytes as f64 * 8.0 / self.plan.weights() as f64
    }

    fn accelerator_of(&self, outcome: &Outcome) -> f64 {
        self.accelerator(outcome.allocation.formats.iter().copied())
    }

    /// A row for each kind of matrix.
    fn kinds(&self, outcome: &Outcome) -> String {
        let mut kinds: BTreeMap<_, Vec<(&Matrix, TensorType)>> = BTreeMap::new();
        for (matrix, &ty) in self.plan.matrices().iter().zip(&outcome.allocation.formats) {
            kinds.entry(matrix.role()).or_default().push((matrix, ty));
        }
        let head = ["matrices", "bytes", "bits/weight", "formats"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for (role, members) in kinds {
            let size: u64 = members.iter().map(|(m, ty)| m.bytes(*ty)).sum();
            let weights: u64 = members.iter().map(|(m, _)| m.weights()).sum();
            let mut formats: BTreeMap<TensorType, usize> = BTreeMap::new();
            members
                .iter()
                .for_each(|(_, ty)| *formats.entry(*ty).or_default() += 1);
            let mut formats: Vec<_> = formats.into_iter().collect();
            formats.sort_by(|a, b| accelerator_bits(a.0).total_cmp(&accelerator_bits(b.0)));
            let formats = formats.iter().map(|(ty, n)| format!("{ty} × {n}"));
            rows.push(vec![
                format!("{role} × {}", members.len()),
                grouped(size),
                format!("{:.3}", size as f64 * 8.0 / weights as f64),
                formats.collect::<Vec<_>>().join(", "),
            ]);
        }
        table(&rows)
    }

    /// What the reader should know before using the result.
    fn remarks(&self, outcome: &Outcome) -> Vec<String> {
        let mut remarks = Vec::new();
        let name = label(outcome.budget);
        if self.plan.largest() == outcome.allocation.formats && outcome.budget != Budget::Unlimited
        {
            let size = bytes(outcome.written.file_bytes);
            remarks.push(format!(
                "{name}: nothing had to be narrowed; the budget is above the {size} that the model needs"
            ));
        }
        if outcome.allocation.gap > 0.0 {
            remarks.push(format!(
                "{name}: the expected loss is at most {:.3} % above the least possible",
                outcome.allocation.gap * 100.0
            ));
        }
        let stored = self.accelerator(self.plan.matrices().iter().map(|m| m.stored));
        if self.accelerator_of(outcome) >= stored {
            remarks.push(format!(
                "{name}: saves no bandwidth on the accelerator, which reads {:.3} bits a weight before and after",
                stored
            ));
        }
        let used = |ty: &TensorType| outcome.allocation.formats.contains(ty);
        for ty in [TensorType::Q4_2OF4, TensorType::Q4_4OF16]
            .into_iter()
            .filter(used)
        {
            remarks.push(sparse_remark(&name, ty));
        }
        let narrow = [TensorType::Q2_1, TensorType::Q3_1].iter().any(used);
        let middle = [TensorType::Q5_1, TensorType::Q6_1].iter().any(used);
        let widths = match (narrow, middle) {
            (true, true) => "2 and 3 bits run as 4, and 5 and 6 as 8",
            (true, false) => "2 and 3 bits run as 4",
            (false, true) => "5 and 6 bits run as 8",
            (false, false) => return remarks,
        };
        remarks.push(format!(
            "{name}: on a configuration with 4 and 8 bits only, {widths}, and save no bandwidth against them"
        ));
        remarks
    }

    pub(super) fn json(&self) -> Result<String> {
        let outcomes: Vec<Value> = self.outcomes.iter().map(|o| self.outcome_json(o)).collect();
        let [least, most] = [self.plan.smallest(), self.plan.largest()];
        let value = json!({
            "schema_version": JSON_SCHEMA,
            "model": self.plan.model().spec().name,
            "weights": self.plan.weights(),
            "tokens": self.tokens,
            "feasible": {
                "least_file_bytes": self.plan.file_bytes(&least)?,
                "most_file_bytes": self.plan.file_bytes(&most)?,
            },
            "source": {
                "file_bytes": self.source_bytes()?,
                "bits_per_weight": self.source_bits(),
                "perplexity": self.before,
            },
            "results": outcomes,
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
    }

    fn outcome_json(&self, outcome: &Outcome) -> Value {
        let matrices = self.plan.matrices().iter().zip(&outcome.allocation.formats);
        let matrices = matrices.map(|(matrix, ty)| {
            json!({
                "tensor": matrix.tensor.name,
                "type": ty.name(),
                "bytes": matrix.bytes(*ty),
                "accelerator_bits_per_weight": accelerator_bits(*ty),
            })
        });
        json!({
            "budget": label(outcome.budget),
            "file_bytes": outcome.written.file_bytes,
            "tensor_bytes": outcome.written.tensor_bytes,
            "bits_per_weight": self.bits(outcome),
            "accelerator_bits_per_weight": self.accelerator_of(outcome),
            "perplexity": outcome.perplexity,
            "loss": self.loss(outcome),
            "expected_loss": outcome.allocation.loss,
            "gap": outcome.allocation.gap,
            "remarks": self.remarks(outcome),
            "matrices": matrices.collect::<Vec<_>>(),
        })
    }
}

/// How a sparse format compares with dense ones on the accelerator.
fn sparse_remark(name: &str, ty: TensorType) -> String {
    use TensorType::{Q2_1, Q3_1, Q4_1};
    let bits = accelerator_bits(ty);
    let dense = [(2, Q2_1), (3, Q3_1), (4, Q4_1)].map(|(width, ty)| (width, accelerator_bits(ty)));
    let saves = dense.iter().find(|(_, dense)| *dense > bits);
    let not = dense.iter().rev().find(|(_, dense)| *dense <= bits);
    let mut text = format!("{name}: {ty} reads {bits:.2} bits a weight on the accelerator");
    if let Some((width, dense)) = saves {
        let share = (1.0 - bits / dense) * 100.0;
        text.push_str(&format!(
            ", {share:.0} % less than dense {width}-bit weights"
        ));
    }
    if let Some((width, dense)) = not {
        text.push_str(&format!(
            "; it saves no bandwidth against dense {width}-bit weights ({dense:.2})"
        ));
    }
    text
}

/// A budget in few words.
pub(super) fn label(budget: Budget) -> String {
    match budget {
        Budget::Unlimited => "pruned".into(),
        Budget::File(bytes) => format!("{} bytes", grouped(bytes)),
        Budget::BitsPerWeight(bits) => format!("{bits} bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of the design: a tile's bytes for its weights.
    #[test]
    fn index_and_scale_bits_are_charged() {
        let bits = |bytes: f64, weights: f64| bytes * 8.0 / weights;
        assert_eq!(accelerator_bits(TensorType::Q4_1), bits(320.0, 512.0));
        assert_eq!(accelerator_bits(TensorType::Q2_1), bits(192.0, 512.0));
        assert_eq!(accelerator_bits(TensorType::Q8_0), bits(576.0, 512.0));
        assert_eq!(accelerator_bits(TensorType::F16), bits(576.0, 512.0));
        assert_eq!(accelerator_bits(TensorType::Q4_2OF4), bits(448.0, 1024.0));
        assert_eq!(accelerator_bits(TensorType::Q4_4OF16), bits(576.0, 2048.0));
    }

    #[test]
    fn sparse_formats_say_where_they_save_nothing() {
        assert_eq!(
            sparse_remark("pruned", TensorType::Q4_2OF4),
            "pruned: Q4_2OF4 reads 3.50 bits a weight on the accelerator, 12 % less than dense 3-bit weights; it saves no bandwidth against dense 2-bit weights (3.00)"
        );
        assert_eq!(
            sparse_remark("pruned", TensorType::Q4_4OF16),
            "pruned: Q4_4OF16 reads 2.25 bits a weight on the accelerator, 25 % less than dense 2-bit weights"
        );
    }
}
