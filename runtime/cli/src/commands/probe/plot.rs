//! Throughput against the size of reads, as a drawing.

use super::{depths, table_points};
use anyhow::{Result, anyhow};
use lampyris_io::probe::{Pattern, Profile};
use plotters::prelude::*;
use std::io::Write;
use std::path::Path;

/// Writes the drawing, whole or not at all.
pub(super) fn write(profile: &Profile, file: &Path) -> Result<()> {
    let text = draw(profile)?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    save(folder, file, &text).map_err(|e| {
        anyhow!(
            "cannot write `{}`: {e}\nhint: name a file in a folder that exists and can be written",
            file.display()
        )
    })
}

fn save(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    temporary.persist(file)?;
    Ok(())
}

/// Sequential rates in blue, random ones in orange; darker is deeper.
fn draw(profile: &Profile) -> Result<String> {
    let rates = profile
        .points
        .iter()
        .map(|p| p.bytes_per_second as f64 / 1e6);
    let top = rates.clone().fold(1.0, f64::max) * 1.5;
    let bottom = rates.fold(top, f64::min).max(0.1) / 1.5;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (900, 560)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| anyhow!("{e}"))?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{} reads", profile.engine), ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d((3.5f64..4500.0).log_scale(), (bottom..top).log_scale())
            .map_err(|e| anyhow!("{e}"))?;
        chart
            .configure_mesh()
            .x_desc("KiB of a read")
            .y_desc("MB/s")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()
            .map_err(|e| anyhow!("{e}"))?;
        for (pattern, name, hue) in [
            (Pattern::Sequential, "sequential", 0.58),
            (Pattern::Random, "random", 0.08),
        ] {
            let all = depths(profile, pattern);
            for (index, depth) in all.iter().enumerate() {
                let light = 0.7 - 0.4 * (index + 1) as f64 / all.len() as f64;
                let colour = HSLColor(hue, 0.9, light);
                let line = table_points(profile, pattern)
                    .filter(|p| p.depth == *depth)
                    .map(|p| (p.chunk as f64 / 1024.0, p.bytes_per_second as f64 / 1e6));
                chart
                    .draw_series(LineSeries::new(line, colour.stroke_width(2)))
                    .map_err(|e| anyhow!("{e}"))?
                    .label(format!("{name}, {depth} in flight"))
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                    });
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()
            .map_err(|e| anyhow!("{e}"))?;
        area.present().map_err(|e| anyhow!("{e}"))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_has_a_line_for_each_depth() {
        let profile = Profile::assumed("d", "p");
        let text = draw(&profile).expect("draws");
        assert!(text.starts_with("<svg"), "{text}");
        assert!(text.contains("sequential, 8 in flight") && text.contains("random, 1 in flight"));
        // Two depths of each pattern, and their legends.
        assert_eq!(text.matches("stroke-width=\"2\"").count(), 8, "{text}");
    }
}
