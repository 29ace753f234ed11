//! Size against perplexity, as SVG.

use super::report::{Report, label};
use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::io::Write;
use std::path::Path;

const SIZE: (u32, u32) = (760, 480);
const MIB: f64 = 1024.0 * 1024.0;

/// A point: name, size in MiB, perplexity.
type Point = (String, f64, f64);

/// Writes the chart to `path`, whole or not at all.
pub(super) fn write(path: &Path, report: &Report<'_>) -> Result<()> {
    let source = (
        "source".to_owned(),
        report.source_bytes()? as f64 / MIB,
        report.before,
    );
    let results = report.outcomes.iter().map(|o| {
        let size = o.written.file_bytes as f64 / MIB;
        (label(o.budget), size, o.perplexity)
    });
    let points: Vec<Point> = results.chain([source]).collect();
    let text = svg(&report.plan.model().spec().name, points)?;
    let hint = "hint: choose another file with --plot";
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let failed = || format!("cannot write {}\n\n{hint}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.persist(path)
        .map_err(|e| anyhow!("cannot write {}: {}\n\n{hint}", path.display(), e.error))?;
    Ok(())
}

fn svg(model: &str, mut points: Vec<Point>) -> Result<String> {
    points.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut text = String::new();
    draw(&mut text, model, &points).map_err(|e| anyhow!("the plot cannot be drawn: {e}"))?;
    Ok(text)
}

/// The axes' range around some values.
fn range(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.1 * (high - low).max(0.01 * high);
    ((low - margin).max(0.0), high + margin)
}

fn draw(
    text: &mut String,
    model: &str,
    points: &[Point],
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = range(points.iter().map(|p| p.1));
    let (low, high) = range(points.iter().map(|p| p.2));
    let mut chart = ChartBuilder::on(&area)
        .caption(model, ("sans-serif", 20))
        .margin(14)
        .margin_right(60)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(left..right, low..high)?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .x_desc("file, MiB")
        .y_desc("perplexity")
        .label_style(("sans-serif", 13))
        .draw()?;
    let color = RGBColor(70, 110, 170);
    let line = points.iter().map(|p| (p.1, p.2));
    chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
    for (name, size, perplexity) in points {
        let (x, y) = chart.backend_coord(&(*size, *perplexity));
        area.draw(&Circle::new((x, y), 4, color.filled()))?;
        let label = format!("{name}: {perplexity:.2}");
        // To the left of points at the right, so that nothing is cut off.
        let (place, side) = match x > SIZE.0 as i32 * 3 / 5 {
            true => (x - 7, HPos::Right),
            false => (x + 7, HPos::Left),
        };
        let style = ("sans-serif", 13).into_text_style(&area);
        let style = style.pos(Pos::new(side, VPos::Top));
        area.draw(&Text::new(label, (place, y - 14), style))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_and_named() {
        let points = vec![
            ("source".to_owned(), 93.8, 27.4),
            ("3.5 bits".to_owned(), 56.1, 41.0),
        ];
        let text = svg("model", points).unwrap();
        assert!(text.starts_with("<svg"), "{text}");
        for words in [
            "source: 27.40",
            "3.5 bits: 41.00",
            "perplexity",
            "file, MiB",
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(text.matches("<circle").count(), 2);
        // One point alone has a range too.
        assert!(svg("model", vec![("source".to_owned(), 1.0, 2.0)]).is_ok());
    }
}
