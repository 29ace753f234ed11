//! How packed models with bundles are run: options of several commands.

use super::calibrate::RuleName;
use crate::output::{WrongUsage, note};
use anyhow::Result;
use lampyris_pack::{Ffn, ModelIndex};
use lampyris_runtime::predictor::{Predictor, identity_of};
use lampyris_runtime::sparse::thresholds::ThresholdFile;
use lampyris_runtime::sparse::{Activity, SparseOptions};
use std::path::PathBuf;
use std::sync::Arc;

/// Options of sparse mode, for files that were packed with `--layout bundled`.
#[derive(clap::Args)]
pub(crate) struct SparseArgs {
    /// Compute only neurons that this predictor names (ReLU models; may miss some). Without it,
    /// gate rows stay in memory and zeros are known exactly
    #[arg(long, value_name = "FILE", help_heading = "Sparse mode")]
    predictor: Option<PathBuf>,
    /// Let the predictor decide in prompts too, which are otherwise computed exactly
    #[arg(long, requires = "predictor", help_heading = "Sparse mode")]
    predict_prompts: bool,
    /// Leave out neurons below calibrated thresholds (models without ReLU; lossy)
    #[arg(
        long,
        value_name = "FILE",
        requires = "rule",
        requires = "sparsity",
        conflicts_with = "predictor",
        help_heading = "Sparse mode"
    )]
    thresholds: Option<PathBuf>,
    /// Which of the thresholds
    #[arg(long, requires = "thresholds", help_heading = "Sparse mode")]
    rule: Option<RuleName>,
    /// Which of the thresholds: neurons left out, in percent
    #[arg(long, requires = "thresholds", help_heading = "Sparse mode")]
    sparsity: Option<f64>,
    /// Compute every neuron of every token: the baseline
    #[arg(long, conflicts_with_all = ["predictor", "thresholds"], help_heading = "Sparse mode")]
    all_neurons: bool,
    /// Tokens whose neurons stay in memory before others; 0 keeps none
    #[arg(long, default_value_t = SparseOptions::default().window, help_heading = "Sparse mode")]
    neuron_window: usize,
    /// Share of the neuron cache that holds the file's first neurons for good
    #[arg(long, default_value_t = 0.0, help_heading = "Sparse mode")]
    pinned: f64,
    /// Read the rows and the column of a neuron with requests of their own
    #[arg(long, help_heading = "Sparse mode")]
    no_bundling: bool,
    /// Never read neighbours together
    #[arg(long, help_heading = "Sparse mode")]
    no_chunks: bool,
}

impl SparseArgs {
    /// The options for a model, or `None` where it has no bundles. Says what is lossy.
    pub(crate) fn options(&self, index: &ModelIndex) -> Result<Option<SparseOptions>> {
        let bundled = index
            .layers
            .iter()
            .any(|l| matches!(l.ffn, Ffn::Bundled(_)));
        if !bundled {
            if self.predictor.is_some() || self.thresholds.is_some() || self.all_neurons {
                let message = "sparse mode needs a packed file with bundles\n\nhint: pack the model with `lampyris pack --layout bundled`";
                return Err(WrongUsage(message.into()).into());
            }
            return Ok(None);
        }
        if !(0.0..=1.0).contains(&self.pinned) {
            let message = format!("a pinned share of {}\n\nhint: give 0 to 1", self.pinned);
            return Err(WrongUsage(message).into());
        }
        Ok(Some(SparseOptions {
            activity: self.activity(index)?,
            window: self.neuron_window,
            bundle: !self.no_bundling,
            chunks: !self.no_chunks,
            pinned: self.pinned,
            predict_prompts: self.predict_prompts,
            ..SparseOptions::default()
        }))
    }

    fn activity(&self, index: &ModelIndex) -> Result<Activity> {
        if self.all_neurons {
            return Ok(Activity::All);
        }
        if let Some(path) = &self.predictor {
            let predictor = Predictor::read(path)?;
            let quality = predictor.quality();
            note(&format!(
                "note: the predictor finds {:.2} % of the active neurons and names {:.2} for each",
                quality.recall() * 100.0,
                quality.over_prediction()
            ));
            return Ok(Activity::Predicted(Arc::new(predictor)));
        }
        let (Some(path), Some(rule), Some(percent)) = (&self.thresholds, self.rule, self.sparsity)
        else {
            return Ok(Activity::Exact);
        };
        let file = ThresholdFile::read(path)?;
        let name = path.display().to_string();
        let layers = index.layers.len();
        let identity = identity_of(index)?;
        let entry = file.find(rule.into(), percent / 100.0, &identity, layers, &name)?;
        note(&format!(
            "note: lossy: {:.1} % of the neurons are left out, perplexity {:.2} → {:.2} ({:+.1} %) as calibrated",
            entry.measured.sparsity * 100.0,
            file.dense.perplexity,
            entry.measured.perplexity,
            entry.loss(&file.dense) * 100.0
        ));
        Ok(Activity::Above(entry.rule, entry.values.clone()))
    }
}
