//! One picture for each part: bars beside each other.

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

/// A group of bars: what it is, and a value for each series.
pub(crate) type Group = (String, Vec<f64>);

/// Draws groups of bars, a colour for each series, to an SVG file `name` in `folder`, if one was
/// asked for.
pub(crate) fn bars(
    folder: Option<&Path>,
    name: &str,
    title: &str,
    unit: &str,
    series: &[&str],
    groups: &[Group],
) -> Result<()> {
    let Some(folder) = folder else {
        return Ok(());
    };
    let path = folder.join(format!("{name}.svg"));
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(&path, (900, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let most = groups
            .iter()
            .flat_map(|g| &g.1)
            .fold(0.0f64, |a, b| a.max(*b));
        let step = series.len() as f64 + 1.0;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..step * groups.len() as f64, 0.0..most * 1.15)?;
        let label = |x: &f64| {
            let group = (x / step) as usize;
            groups.get(group).map_or_else(String::new, |g| g.0.clone())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(groups.len() * 2)
            .x_label_formatter(&label)
            .y_desc(unit)
            .draw()?;
        for (s, name) in series.iter().enumerate() {
            let colour = Palette99::pick(s).to_rgba();
            let bars = groups.iter().enumerate().map(|(g, group)| {
                let left = g as f64 * step + 0.5 + s as f64;
                Rectangle::new([(left, 0.0), (left + 0.9, group.1[s])], colour.filled())
            });
            chart.draw_series(bars)?.label(*name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled())
            });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
        Ok(())
    };
    draw()
        .map_err(|e| anyhow!("{e}"))
        .with_context(|| format!("cannot draw `{}`", path.display()))
}
