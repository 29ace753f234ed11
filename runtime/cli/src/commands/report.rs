//! The table at the end of a simulation.

use super::memory::{Hardware, PinUse};
use crate::output::{bytes, grouped, table};
use lampyris_sim::Counters;
use lampyris_sim::session::Call;
use lampyris_sim::traffic::{Bytes, Class, Traffic};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

/// Counters of the prefill or decode calls, summed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Phase {
    /// Calls of the accelerator.
    pub(crate) calls: u64,
    /// Tokens processed.
    pub(crate) tokens: u64,
    /// Clock cycles.
    pub(crate) cycles: u64,
    /// Cycles a token.
    pub(crate) cycles_per_token: f64,
    /// At the configured clock.
    pub(crate) tokens_per_second: f64,
    /// Bytes read from and written to DRAM.
    pub(crate) dram_bytes: u64,
    /// Of these, weights and KV cache on the weight stream.
    pub(crate) stream_bytes: u64,
    /// Of these, vectors.
    pub(crate) vector_bytes: u64,
    /// Of these, instructions.
    pub(crate) instruction_bytes: u64,
    /// Of these, written.
    pub(crate) write_bytes: u64,
    /// What the bytes on the memory ports were, if the engine watches them.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "list_of_classes"
    )]
    pub(crate) traffic: Option<Traffic>,
    /// Share of cycles in which a memory port moved a beat, averaged over the ports.
    pub(crate) port_share: f64,
    /// The memory behind the port, if it is modelled.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) pins: Option<PinUse>,
    /// Share of cycles in which each unit executed: LD, ST, MM, SFU.
    pub(crate) busy: [f64; 4],
    /// Share of cycles in which the multipliers took a step.
    pub(crate) mac_share: f64,
    /// Instructions that left the sequencer.
    pub(crate) instructions: u64,
}

impl Phase {
    /// Sums calls.
    pub(crate) fn new<'a>(calls: impl Iterator<Item = &'a Call>, hardware: &Hardware) -> Phase {
        let mut sum = Counters::default();
        let mut phase = Phase::default();
        for call in calls {
            phase.calls += 1;
            phase.tokens += call.tokens as u64;
            if let Some(traffic) = &call.traffic {
                phase.traffic.get_or_insert_default().add(traffic);
            }
            sum.0
                .iter_mut()
                .zip(call.counters.0)
                .for_each(|(s, c)| *s += c);
        }
        let get = |name| sum.get(name);
        let config = &hardware.config;
        let beat = u64::from(config.beat_bytes());
        phase.cycles = get("cycles");
        phase.instructions = get("insns");
        let load = u64::from(config.load_beat_bytes());
        phase.stream_bytes = get("stream_beats") * load;
        phase.vector_bytes = get("vector_beats") * load;
        phase.instruction_bytes = get("fetch_beats") * beat;
        phase.write_bytes = get("write_beats") * beat;
        phase.dram_bytes = sum.dram_read_bytes(config) + phase.write_bytes;
        if phase.cycles > 0 {
            let share = |name| get(name) as f64 / phase.cycles as f64;
            phase.cycles_per_token = phase.cycles as f64 / phase.tokens.max(1) as f64;
            phase.tokens_per_second = f64::from(config.clock_khz) * 1e3 / phase.cycles_per_token;
            phase.port_share = sum.port_share(config);
            phase.pins = PinUse::new(hardware, phase.dram_bytes, phase.cycles);
            phase.busy = ["busy_ld", "busy_st", "busy_mm", "busy_sfu"].map(share);
            phase.mac_share = share("mac_steps");
        }
        phase
    }
}

/// A list of objects, one a class: name, bytes read, written and masked.
fn list_of_classes<S: Serializer>(
    traffic: &Option<Traffic>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let entry = |(class, bytes): (&Class, &Bytes)| {
        serde_json::json!({
            "class": class.to_string(),
            "read": bytes.read,
            "written": bytes.written,
            "masked": bytes.masked,
        })
    };
    let traffic = traffic.iter().flat_map(|traffic| &traffic.0);
    serializer.collect_seq(traffic.map(entry))
}

/// Rows on what the bytes on the memory ports were; activations also where there were none.
fn traffic_rows(phases: &[&(&str, &Phase)]) -> Vec<Vec<String>> {
    let watched: Vec<&Traffic> = phases
        .iter()
        .filter_map(|(_, p)| p.traffic.as_ref())
        .collect();
    if watched.is_empty() {
        return Vec::new();
    }
    let seen = watched.iter().flat_map(|t| t.0.keys().copied());
    let classes: BTreeSet<Class> = seen.chain([Class::Activations]).collect();
    let cell = |class: Class, p: &Phase| {
        let of = |t: &Traffic| bytes(t.of(class).total());
        p.traffic.as_ref().map(of).unwrap_or_default()
    };
    let row = |class: Class| {
        let cells = phases.iter().map(|(_, p)| cell(class, p));
        std::iter::once(format!("  {class}")).chain(cells).collect()
    };
    classes.into_iter().map(row).collect()
}

/// The table: a column a phase.
pub(crate) fn render(phases: &[(&str, &Phase)], hardware: &Hardware, level: &str) -> String {
    let phases: Vec<_> = phases.iter().filter(|(_, p)| p.calls > 0).collect();
    let row = |name: &str, cell: &dyn Fn(&Phase) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(phases.iter().map(|(_, p)| cell(p)));
        row
    };
    let percent = |v: f64| format!("{:.1} %", 100.0 * v);
    let mut rows = vec![row(level, &|_| String::new())];
    for (i, (name, _)) in phases.iter().enumerate() {
        rows[0][i + 1] = (*name).to_owned();
    }
    rows.push(row("tokens", &|p| grouped(p.tokens)));
    rows.push(row("instructions", &|p| grouped(p.instructions)));
    if phases.iter().any(|(_, p)| p.cycles > 0) {
        let clock = f64::from(hardware.config.clock_khz) / 1e3;
        rows.push(row("cycles", &|p| grouped(p.cycles)));
        rows.push(row("cycles per token", &|p| {
            grouped(p.cycles_per_token as u64)
        }));
        rows.push(row(&format!("tokens/s at {clock} MHz"), &|p| {
            format!("{:.2}", p.tokens_per_second)
        }));
        rows.push(row("DRAM traffic", &|p| bytes(p.dram_bytes)));
        let watched = traffic_rows(&phases);
        if watched.is_empty() {
            rows.push(row("  weights, KV cache", &|p| bytes(p.stream_bytes)));
            rows.push(row("  vectors", &|p| bytes(p.vector_bytes)));
            rows.push(row("  instructions", &|p| bytes(p.instruction_bytes)));
            rows.push(row("  written", &|p| bytes(p.write_bytes)));
        }
        rows.extend(watched);
        rows.push(row("share of the port's peak", &|p| percent(p.port_share)));
        if let Some(dram) = &hardware.dram {
            let pins = |cell: &dyn Fn(&PinUse) -> String| {
                let cell = |p: &Phase| p.pins.as_ref().map(cell).unwrap_or_default();
                phases.iter().map(|(_, p)| cell(p)).collect::<Vec<_>>()
            };
            let name = dram.timing.name;
            let mut row = |name: String, cell: &dyn Fn(&PinUse) -> String| {
                rows.push([vec![name], pins(cell)].concat());
            };
            row(
                "share of the pins' peak (RTL-simulated with the DRAM model)".into(),
                &|p| percent(p.pins_share),
            );
            row("  left by refresh".into(), &|p| percent(p.refresh_limit));
            row(format!("  {name}: slower side"), &PinUse::bound);
        }
        rows.push(row("multiplier steps", &|p| percent(p.mac_share)));
        for (i, unit) in ["LD", "ST", "MM", "SFU"].iter().enumerate() {
            rows.push(row(&format!("{unit} busy"), &|p| percent(p.busy[i])));
        }
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(traffic: Option<Traffic>) -> Phase {
        Phase {
            calls: 1,
            cycles: 1000,
            traffic,
            ..Phase::default()
        }
    }

    #[test]
    fn traffic_is_listed_by_class_and_activations_are_always_there() {
        let mut traffic = Traffic::default();
        let scales = Bytes {
            read: 1024,
            written: 1000,
            masked: 24,
        };
        traffic.0.insert(Class::KvScales, scales);
        let phase = phase(Some(traffic));
        let rows = traffic_rows(&[&("decode", &phase)]);
        let row = |name: &str, cell: &str| vec![format!("  {name}"), cell.to_owned()];
        assert_eq!(
            rows,
            [row("KV scales", "2.0 KiB"), row("activations", "0 B")]
        );
        let json = serde_json::to_value(&phase).expect("plain data");
        let entry = serde_json::json!(
            {"class": "KV scales", "read": 1024, "written": 1000, "masked": 24}
        );
        assert_eq!(json["traffic"], serde_json::json!([entry]));
    }

    #[test]
    fn what_nobody_watched_is_not_listed() {
        let phase = phase(None);
        assert!(traffic_rows(&[&("decode", &phase)]).is_empty());
        let json = serde_json::to_value(&phase).expect("plain data");
        assert_eq!(json.get("traffic"), None);
    }
}
