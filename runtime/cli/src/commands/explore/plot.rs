//! Speed against cost, one dot a configuration, as SVG.

use super::Point;
use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

const SIZE: (u32, u32) = (900, 560);

/// Writes the plot to `path`, whole or not at all.
pub(super) fn write(path: &Path, model: &str, points: &[Point]) -> Result<()> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        // The backend writes to memory; what it could report is a wrong drawing.
        draw(&area, model, points).map_err(|e| anyhow!("the plot cannot be drawn: {e}"))?;
    }
    let hint = "hint: choose another file with --plot";
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let failed = || format!("cannot write {}\n\n{hint}", path.display());
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.persist(path)
        .map_err(|e| e.error)
        .with_context(failed)?;
    Ok(())
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    model: &str,
    points: &[Point],
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let most = |of: fn(&Point) -> f64| points.iter().map(of).fold(1e-9, f64::max) * 1.05;
    let lut = |p: &Point| p.resources.lut as f64 / 1e3;
    let speed = |p: &Point| p.decode.tokens_per_second;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{model}, decode (modelled)"), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..most(lut), 0.0..most(speed))?;
    chart
        .configure_mesh()
        .x_desc("thousand LUTs (ECP5)")
        .y_desc("tokens per second")
        .draw()?;
    let memories: BTreeSet<_> = points.iter().map(|p| p.memory.clone()).collect();
    for (i, memory) in memories.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let of_memory = points.iter().filter(|p| p.memory == *memory);
        let dot = |p: &Point| {
            let style = if p.best {
                color.filled()
            } else {
                color.stroke_width(1)
            };
            Circle::new((lut(p), speed(p)), if p.best { 5 } else { 3 }, style)
        };
        chart
            .draw_series(of_memory.clone().map(dot))?
            .label(memory.clone().unwrap_or_else(|| "ideal memory".into()))
            .legend(move |at| Circle::new(at, 4, color.filled()));
        let best = of_memory.filter(|p| p.best).map(|p| (lut(p), speed(p)));
        chart.draw_series(LineSeries::new(best, color))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
