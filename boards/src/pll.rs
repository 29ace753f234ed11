//! The clock generator of a Lattice ECP5: its dividers, and a module that holds them.

/// Dividers of an `EHXPLLL` whose feedback is its first output.
///
/// Output = input / `input_div` x `feedback_div`; the oscillator inside runs `output_div` times
/// faster. Ranges: Lattice TN-02200 (sysCLOCK PLL/DLL guide).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecp5Pll {
    /// Divider of the input, 1 to 128.
    pub input_div: u32,
    /// Divider of the feedback, 1 to 80.
    pub feedback_div: u32,
    /// Divider of the output, 1 to 128.
    pub output_div: u32,
}

/// Range of the oscillator inside, kHz.
const OSCILLATOR_KHZ: std::ops::RangeInclusive<u64> = 400_000..=800_000;
/// What the phase detector needs at least, kHz.
const DETECTOR_MIN_KHZ: u64 = 3_125;

/// No dividers give the frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no clock of {output_khz} kHz can be made from {input_khz} kHz; the nearest is {nearest_khz} kHz"
)]
pub struct NoDividers {
    /// Input, kHz.
    pub input_khz: u32,
    /// Output that was asked for, kHz.
    pub output_khz: u32,
    /// Nearest that can be made, kHz.
    pub nearest_khz: u32,
}

impl Ecp5Pll {
    /// Dividers that make exactly `output_khz` of `input_khz`, with the oscillator in the middle
    /// of its range.
    ///
    /// # Errors
    /// Says which frequency is nearest.
    pub fn new(input_khz: u32, output_khz: u32) -> Result<Ecp5Pll, NoDividers> {
        let wanted = f64::from(output_khz);
        let distance = |pll: &Ecp5Pll| (pll.output_khz(input_khz) - wanted).abs();
        let best = candidates(input_khz)
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(Ecp5Pll {
                input_div: 1,
                feedback_div: 1,
                output_div: 1,
            });
        if distance(&best) < 1e-6 {
            return Ok(best);
        }
        Err(NoDividers {
            input_khz,
            output_khz,
            nearest_khz: best.output_khz(input_khz).round() as u32,
        })
    }

    /// The output, kHz.
    pub fn output_khz(&self, input_khz: u32) -> f64 {
        f64::from(input_khz) * f64::from(self.feedback_div) / f64::from(self.input_div)
    }

    /// The module `soc_pll`: the accelerator's clock, and the same for the memory chip, which leads
    /// by `lead_deg` degrees of a period (below 360) to make up for the delay of its way out.
    pub fn verilog(&self, input_khz: u32, lead_deg: u32) -> String {
        let Ecp5Pll {
            input_div,
            feedback_div,
            output_div,
        } = self;
        // A phase is given in periods of the oscillator, counted from half the divider.
        let phase = output_div / 2 - u32::from(output_div % 2 == 0);
        // The second output in eighths of a period of the oscillator after the first.
        let eighths = (360 - lead_deg) * output_div * 8 / 360;
        let (coarse, fine) = (phase + eighths / 8, eighths % 8);
        let output = self.output_khz(input_khz);
        format!(
            "// Generated from the board's file: {input_khz} kHz to {output} kHz.\n\
             `default_nettype none\n\n\
             module soc_pll (\n    input  wire clk_i,\n    output wire clk_o,\n    output wire clk_mem_o,\n    output wire locked_o\n);\n  \
             (* ICP_CURRENT=\"12\" *) (* LPF_RESISTOR=\"8\" *) (* MFG_ENABLE_FILTEROPAMP=\"1\" *) (* MFG_GMCREF_SEL=\"2\" *)\n  \
             EHXPLLL #(\n      .PLLRST_ENA(\"DISABLED\"), .INTFB_WAKE(\"DISABLED\"), .STDBY_ENABLE(\"DISABLED\"),\n      \
             .DPHASE_SOURCE(\"DISABLED\"), .FEEDBK_PATH(\"CLKOP\"),\n      \
             .CLKI_DIV({input_div}), .CLKFB_DIV({feedback_div}),\n      \
             .CLKOP_ENABLE(\"ENABLED\"), .CLKOP_DIV({output_div}), .CLKOP_CPHASE({phase}), .CLKOP_FPHASE(0),\n      \
             .CLKOS_ENABLE(\"ENABLED\"), .CLKOS_DIV({output_div}), .CLKOS_CPHASE({coarse}), .CLKOS_FPHASE({fine})\n  ) u_pll (\n      \
             .CLKI(clk_i), .CLKFB(clk_o), .CLKOP(clk_o), .CLKOS(clk_mem_o), .LOCK(locked_o),\n      \
             .RST(1'b0), .STDBY(1'b0), .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b1), .PHASESTEP(1'b1),\n      \
             .PHASELOADREG(1'b1), .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0), .ENCLKOS(1'b0)\n  );\nendmodule\n\n\
             `default_nettype wire\n"
        )
    }
}

/// All legal dividers; of those with the same output, the one whose oscillator is nearest to
/// 600 MHz comes first.
fn candidates(input_khz: u32) -> impl Iterator<Item = Ecp5Pll> {
    let input = u64::from(input_khz);
    (1..=128u32).flat_map(move |input_div| {
        (1..=80u32).filter_map(move |feedback_div| {
            let output = input * u64::from(feedback_div) / u64::from(input_div);
            if input / u64::from(input_div) < DETECTOR_MIN_KHZ {
                return None;
            }
            let mut divs: Vec<u32> = (1..=128)
                .filter(|div| OSCILLATOR_KHZ.contains(&(output * u64::from(*div))))
                .collect();
            divs.sort_by_key(|div| (output * u64::from(*div)).abs_diff(600_000));
            Some(Ecp5Pll {
                input_div,
                feedback_div,
                output_div: *divs.first()?,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividers_stay_in_their_ranges() {
        for (input, output) in [
            (25_000, 50_000),
            (25_000, 65_000),
            (48_000, 60_000),
            (100_000, 62_500),
        ] {
            let pll = Ecp5Pll::new(input, output).unwrap();
            assert!((pll.output_khz(input) - f64::from(output)).abs() < 1e-6);
            let oscillator = u64::from(output) * u64::from(pll.output_div);
            assert!(OSCILLATOR_KHZ.contains(&oscillator), "{pll:?}");
            assert!(u64::from(input / pll.input_div) >= DETECTOR_MIN_KHZ);
        }
        let pll = Ecp5Pll::new(25_000, 50_000).unwrap();
        assert_eq!(
            (pll.input_div, pll.feedback_div, pll.output_div),
            (1, 2, 12)
        );
    }

    #[test]
    fn the_nearest_clock_is_named() {
        let error = Ecp5Pll::new(25_000, 50_001).unwrap_err().to_string();
        assert_eq!(
            error,
            "no clock of 50001 kHz can be made from 25000 kHz; the nearest is 50000 kHz"
        );
    }

    #[test]
    fn the_module_holds_the_dividers_and_both_phases() {
        let text = Ecp5Pll::new(25_000, 50_000).unwrap().verilog(25_000, 45);
        for part in [
            ".CLKI_DIV(1), .CLKFB_DIV(2)",
            ".CLKOP_DIV(12), .CLKOP_CPHASE(5)",
            ".CLKOS_DIV(12), .CLKOS_CPHASE(15), .CLKOS_FPHASE(4)",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
