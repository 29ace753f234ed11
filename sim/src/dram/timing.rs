//! Memory kinds as data.
//!
//! Values are minima in clock cycles of the memory, rounded up from the nanoseconds of the
//! standard or datasheet. They were written down from memory of the cited documents, not copied
//! from them in front of us: check a value against your part's datasheet before you sign off a
//! board on it.

use super::Error;

/// Geometry and timing of one channel: all devices that share a command bus, taken as one.
///
/// Times are clock cycles between commands unless the field says otherwise. Where a memory has no
/// such rule the value is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Name of the kind, as `lampyris sim --memory` takes it.
    pub name: &'static str,
    /// Clock of the command bus, kHz.
    pub clock_khz: u32,
    /// Transfers on each data pin in a clock cycle.
    pub data_rate: u32,
    /// Transfers in a burst.
    pub burst_length: u32,
    /// Width of the data bus, bytes.
    pub bus_bytes: u32,
    /// Bank groups; 1 if the memory has none.
    pub groups: u32,
    /// Banks in a group.
    pub banks: u32,
    /// Rows in a bank.
    pub rows: u32,
    /// Bytes in a row of one bank, over all devices of the channel.
    pub row_bytes: u32,
    /// Read command to first data (CL).
    pub cl: u32,
    /// Write command to first data (CWL).
    pub cwl: u32,
    /// Activate to read or write (tRCD).
    pub rcd: u32,
    /// Precharge to activate (tRP).
    pub rp: u32,
    /// Activate to precharge (tRAS).
    pub ras: u32,
    /// Activate to activate, same bank (tRC).
    pub rc: u32,
    /// Activate to activate, different bank groups (`tRRD_S`).
    pub rrd_s: u32,
    /// Activate to activate, same bank group (`tRRD_L`).
    pub rrd_l: u32,
    /// Window that holds at most four activates (tFAW).
    pub faw: u32,
    /// Column command to column command of the same kind, different bank groups (`tCCD_S`).
    pub ccd_s: u32,
    /// The same within a bank group (`tCCD_L`).
    pub ccd_l: u32,
    /// Cycle after the last written data to read, different bank groups (`tWTR_S`).
    pub wtr_s: u32,
    /// The same within a bank group (`tWTR_L`).
    pub wtr_l: u32,
    /// Read to precharge (tRTP).
    pub rtp: u32,
    /// Cycle after the last written data to precharge (tWR).
    pub wr: u32,
    /// Cycles for which the data bus rests between read data and write data.
    pub turnaround: u32,
    /// Average time between refreshes (tREFI).
    pub refi: u32,
    /// Refresh to the next command (tRFC).
    pub rfc: u32,
}

impl Timing {
    /// 256 Mbit SDR SDRAM x16 at 133 MHz, CL 2: the memory of a ULX3S.
    ///
    /// Micron MT48LC16M16A2, speed grade -7E, table "Electrical Characteristics and Recommended AC
    /// Operating Conditions" (from memory): tCK 7.5 ns at CL 2, tRCD 15 ns, tRP 15 ns, tRAS 37 ns,
    /// tRC 60 ns, tRRD 14 ns, tRFC 66 ns, 8192 refreshes in 64 ms; tWR 14 ns counted from the last
    /// data edge, hence 1 cycle after the cycle that follows it. `rtp`: a precharge may come
    /// CL - 1 cycles before the burst ends. `turnaround`: one cycle of high impedance (by DQM).
    pub const SDR_133: Timing = Timing {
        name: "sdr-133",
        clock_khz: 133_333,
        data_rate: 1,
        burst_length: 8,
        bus_bytes: 2,
        groups: 1,
        banks: 4,
        rows: 8192,
        row_bytes: 1024,
        cl: 2,
        cwl: 0,
        rcd: 2,
        rp: 2,
        ras: 5,
        rc: 8,
        rrd_s: 2,
        rrd_l: 2,
        faw: 0,
        ccd_s: 8,
        ccd_l: 8,
        wtr_s: 0,
        wtr_l: 0,
        rtp: 7,
        wr: 1,
        turnaround: 1,
        refi: 1041,
        rfc: 9,
    };

    /// 4 Gbit DDR3 x16 at 800 MT/s (6-6-6).
    ///
    /// Micron MT41K256M16 and JEDEC JESD79-3F, speed bin DDR3-800E, 2 KiB page (from memory):
    /// tCK 2.5 ns, tRCD and tRP 15 ns, tRAS 37.5 ns, tRC 52.5 ns, tRRD max(4 nCK, 10 ns),
    /// tFAW 50 ns, tWTR and tRTP max(4 nCK, 7.5 ns), tWR 15 ns, tREFI 7.8 us, tRFC 260 ns (4 Gbit).
    /// `turnaround`: the standard's read-to-write of RL + tCCD + 2 - WL.
    pub const DDR3_800: Timing = Timing {
        name: "ddr3-800",
        clock_khz: 400_000,
        data_rate: 2,
        burst_length: 8,
        bus_bytes: 2,
        groups: 1,
        banks: 8,
        rows: 32768,
        row_bytes: 2048,
        cl: 6,
        cwl: 5,
        rcd: 6,
        rp: 6,
        ras: 15,
        rc: 21,
        rrd_s: 4,
        rrd_l: 4,
        faw: 20,
        ccd_s: 4,
        ccd_l: 4,
        wtr_s: 4,
        wtr_l: 4,
        rtp: 4,
        wr: 6,
        turnaround: 2,
        refi: 3120,
        rfc: 104,
    };

    /// 64-bit DDR4-2400 of eight 8 Gbit x8 devices (17-17-17).
    ///
    /// Micron MT40A1G8 and JEDEC JESD79-4, speed bin DDR4-2400T, 1 KiB page (from memory; `rrd_l`,
    /// `faw`, `rfc` and `refi` agree with the gem5 simulator's DDR4-2400 8x8 entry): tCK 0.833 ns,
    /// tRCD and tRP 14.16 ns, tRAS 32 ns, tRC 46.16 ns, `tRRD_S` max(4 nCK, 3.3 ns), `tRRD_L`
    /// max(4 nCK, 4.9 ns), tFAW max(20 nCK, 21 ns), `tCCD_L` max(5 nCK, 5 ns), `tWTR_S`
    /// max(2 nCK, 2.5 ns), `tWTR_L` and tRTP max(4 nCK, 7.5 ns), tWR 15 ns, tREFI 7.8 us,
    /// tRFC1 350 ns (8 Gbit).
    pub const DDR4_2400: Timing = Timing {
        name: "ddr4-2400",
        clock_khz: 1_200_000,
        data_rate: 2,
        burst_length: 8,
        bus_bytes: 8,
        groups: 4,
        banks: 4,
        rows: 65536,
        row_bytes: 8192,
        cl: 17,
        cwl: 12,
        rcd: 17,
        rp: 17,
        ras: 39,
        rc: 56,
        rrd_s: 4,
        rrd_l: 6,
        faw: 26,
        ccd_s: 4,
        ccd_l: 6,
        wtr_s: 3,
        wtr_l: 9,
        rtp: 9,
        wr: 18,
        turnaround: 2,
        refi: 9360,
        rfc: 420,
    };

    /// One HBM2 pseudo-channel: 64 bits at 2 Gb/s a pin, 256 MiB (4 Gbit a channel).
    ///
    /// JEDEC JESD235A leaves most values to the vendor; these are the ones that public simulators
    /// use for a 2 Gb/s stack (from memory, the least certain of the four): tCK 1 ns, RL 14, WL 4,
    /// tRCD and tRP 14 ns, tRAS 34 ns, `tRRD_S` 4, `tRRD_L` 6, tFAW 16 ns, `tCCD_S` 2, `tCCD_L` 4,
    /// `tWTR_S` 6, `tWTR_L` 8, tRTP 6, tWR 16 ns, tREFI 3.9 us, tRFC 260 ns. All-bank refresh and
    /// one command a cycle are modelled; the memory's per-bank refresh and its separate row and
    /// column command buses are not.
    pub const HBM2: Timing = Timing {
        name: "hbm2",
        clock_khz: 1_000_000,
        data_rate: 2,
        burst_length: 4,
        bus_bytes: 8,
        groups: 4,
        banks: 4,
        rows: 16384,
        row_bytes: 1024,
        cl: 14,
        cwl: 4,
        rcd: 14,
        rp: 14,
        ras: 34,
        rc: 48,
        rrd_s: 4,
        rrd_l: 6,
        faw: 16,
        ccd_s: 2,
        ccd_l: 4,
        wtr_s: 6,
        wtr_l: 8,
        rtp: 6,
        wr: 16,
        turnaround: 2,
        refi: 3900,
        rfc: 260,
    };

    /// All kinds.
    pub const ALL: [Timing; 4] = [Self::SDR_133, Self::DDR3_800, Self::DDR4_2400, Self::HBM2];

    /// The kind of this name.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn named(name: &str) -> Result<Timing, Error> {
        let found = Self::ALL.into_iter().find(|t| t.name == name);
        found.ok_or_else(|| Error::Kind {
            name: name.to_owned(),
            known: Self::ALL.map(|t| t.name).join(", "),
        })
    }

    /// Cycles for which a burst occupies the data bus.
    pub const fn burst_cycles(&self) -> u32 {
        self.burst_length / self.data_rate
    }

    /// Bytes of a burst: the unit of every transfer.
    pub const fn burst_bytes(&self) -> u32 {
        self.burst_length * self.bus_bytes
    }

    /// Bytes of the channel.
    pub const fn bytes(&self) -> u64 {
        self.groups as u64 * self.banks as u64 * self.rows as u64 * self.row_bytes as u64
    }

    /// Bytes a second that the data pins can carry: the reference of every bandwidth share.
    pub const fn peak(&self) -> u64 {
        self.clock_khz as u64 * 1000 * self.data_rate as u64 * self.bus_bytes as u64
    }

    /// Share of the peak that refresh leaves.
    pub fn refresh_limit(&self) -> f64 {
        1.0 - f64::from(self.rfc) / f64::from(self.refi)
    }

    /// Read to write, whatever the banks: read data, rest, write data.
    pub(crate) const fn read_to_write(&self) -> u32 {
        (self.cl + self.burst_cycles() + self.turnaround).saturating_sub(self.cwl)
    }

    /// Write to the cycle after its last data.
    pub(crate) const fn write_end(&self) -> u32 {
        self.cwl + self.burst_cycles()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_the_kinds() {
        let peaks = Timing::ALL.map(|t| t.peak() / 1_000_000);
        assert_eq!(peaks, [266, 1600, 19_200, 16_000]);
        let mebibytes = Timing::ALL.map(|t| t.bytes() >> 20);
        assert_eq!(mebibytes, [32, 512, 8192, 256]);
    }

    #[test]
    fn kinds_are_found_by_name() {
        assert_eq!(Timing::named("ddr3-800").unwrap(), Timing::DDR3_800);
        let error = Timing::named("ddr5").unwrap_err().to_string();
        assert!(
            error.contains("`ddr5`") && error.contains("ddr4-2400"),
            "{error}"
        );
    }

    #[test]
    fn values_are_consistent() {
        for t in Timing::ALL {
            assert!(t.rc >= t.ras + t.rp || t.name == "sdr-133", "{}", t.name);
            assert!(t.ccd_s >= t.burst_cycles() && t.ccd_l >= t.ccd_s);
            assert!(t.rrd_l >= t.rrd_s && t.wtr_l >= t.wtr_s);
            assert!(t.rfc < t.refi);
            assert!(t.row_bytes.is_multiple_of(t.burst_bytes()));
        }
    }
}
