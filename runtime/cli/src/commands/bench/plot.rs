//! The measurements as a bar chart with their spread, as SVG.

use super::report::Row;
use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::io::Write;
use std::path::Path;

const WIDTH: u32 = 900;
const ROW_HEIGHT: u32 = 34;
const FRAME: u32 = 110;
/// Room for the names of the rows.
const LABELS: u32 = 330;

/// Writes the chart to `path`, whole or not at all.
pub(super) fn write(path: &Path, rows: &[Row]) -> Result<()> {
    let text = svg(rows)?;
    let hint = "hint: choose another file with --plot";
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write {}\n\n{hint}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}\n\n{hint}", path.display()))?;
    file.persist(path)
        .map_err(|e| anyhow!("cannot write {}: {}\n\n{hint}", path.display(), e.error))?;
    Ok(())
}

fn svg(rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    let height = FRAME + ROW_HEIGHT * rows.len() as u32;
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        // The backend writes to memory; what it could report is a wrong drawing.
        draw(&area, rows).map_err(|e| anyhow!("the plot cannot be drawn: {e}"))?;
    }
    Ok(text)
}

/// What tells a row from the others.
fn label(row: &Row) -> String {
    let s = &row.subject;
    format!("{}, {} threads, memory {}", row.test, s.threads, s.memory())
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    rows: &[Row],
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let highest = rows.iter().map(|r| r.rate().0 + r.rate().1);
    let highest = highest.fold(0.0, f64::max).max(1e-9);
    let model = rows.first().map_or("", |r| r.subject.model.as_str());
    let isa = rows.first().map_or("", |r| r.subject.isa.as_str());
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{model} ({isa})"), ("sans-serif", 20))
        .margin(12)
        .margin_right(60)
        .x_label_area_size(40)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..highest * 1.08, 0.0..rows.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc("tokens per second; whiskers: one standard deviation")
        .y_labels(0)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (i, row) in rows.iter().enumerate() {
        let (mean, deviation) = row.rate();
        // The first row is at the top.
        let middle = (rows.len() - i) as f64 - 0.5;
        let color = if row.test.starts_with("pp") {
            RGBColor(120, 160, 200)
        } else {
            RGBColor(230, 160, 90)
        };
        let corners = [(0.0, middle - 0.35), (mean, middle + 0.35)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let whisker = vec![(mean - deviation, middle), (mean + deviation, middle)];
        chart.draw_series([PathElement::new(whisker, BLACK.stroke_width(2))])?;
        let (x, y) = chart.backend_coord(&(0.0, middle));
        let style = ("sans-serif", 13).into_text_style(area);
        area.draw(&Text::new(label(row), (12, y - 6), style.clone()))?;
        let value = format!("{mean:.2}");
        area.draw(&Text::new(value, (x + 6, y - 6), style))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::rows;
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_row() {
        let text = svg(&rows()).expect("draws");
        assert!(text.starts_with("<svg"), "{text}");
        for row in rows() {
            assert!(text.contains(&label(&row)), "{text}");
        }
        assert!(text.contains("6.00") && text.contains("2.00"), "{text}");
    }

    #[test]
    fn a_plot_that_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("absent/plot.svg");
        let error = write(&path, &rows()).expect_err("no such folder");
        assert!(error.to_string().contains("hint: "), "{error}");
        write(&folder.path().join("plot.svg"), &rows()).expect("writes");
        let left = std::fs::read_dir(folder.path()).expect("lists").count();
        assert_eq!(left, 1);
    }
}
