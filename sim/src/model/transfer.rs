//! LD and ST: transfers between DRAM and the memories of the accelerator.

use super::machine::{ErrorCode, Fault, Machine, Rect, Regs, Space, check_aligned};
use crate::memory::SPACE;
use lampyris_isa::format::{BLOCK, TILE_ROWS};
use lampyris_isa::insn::{LdV, LdW, REG_MASK, StK, StT, StV};
use lampyris_isa::num::nibble_header;

/// A byte of one code of 8 bits or of two of 4 bits.
fn byte(codes: &[i8]) -> u8 {
    let nibble = |code: i8| (code as u8 ^ 8) & 15;
    match *codes {
        [low, high] => nibble(low) | nibble(high) << 4,
        _ => codes[0] as u8,
    }
}

impl Machine {
    /// The address of run `row`, or the fault if the run is not mapped.
    fn run_address(&self, base: u64, stride: u64, row: u64, bytes: u64) -> Result<u64, Fault> {
        let addr = base.wrapping_add(row.wrapping_mul(stride)) & REG_MASK;
        if bytes > SPACE - addr || !self.memory.is_mapped(addr, bytes, false) {
            let detail = format!("run {row}: {bytes} bytes at {addr:#x} are not mapped");
            return Err(Fault::new(ErrorCode::Memory, detail));
        }
        Ok(addr)
    }

    pub(crate) fn ld_w(&mut self, regs: &Regs<'_>, i: &LdW) -> Result<(), Fault> {
        let base = regs.add(i.rbase, regs.add(i.rindex, i.addr));
        let (count, rows, stride) = (
            regs.add(i.rcount, i.count.into()),
            u64::from(i.rows),
            u64::from(i.stride),
        );
        if count == 0 || rows == 0 {
            return Ok(());
        }
        let chunk = self.config.chunk_bytes() as u64;
        check_aligned("addr", base, chunk)?;
        check_aligned("stride", stride, chunk)?;
        let bytes = count * chunk;
        for row in 0..rows {
            let addr = self.run_address(base, stride, row, bytes)?;
            self.stream.push(addr, bytes)?;
            self.note(Space::Dram, false, addr, bytes);
        }
        self.work.stream_bytes += bytes * rows;
        Ok(())
    }

    pub(crate) fn ld_v(&mut self, regs: &Regs<'_>, i: &LdV) -> Result<(), Fault> {
        let base = regs.add(i.rbase, regs.add(i.rindex, i.addr));
        let (count, rows, stride) = (
            regs.add(i.rcount, i.count.into()),
            u64::from(i.rows),
            u64::from(i.stride),
        );
        let dst = regs.add(i.rdst, i.dst.into());
        if count == 0 || rows == 0 {
            return Ok(());
        }
        check_aligned("addr", base, 4)?;
        check_aligned("stride", stride, 4)?;
        self.check_vmem(
            "dst",
            Rect {
                start: dst,
                len: count,
                rows,
                stride: count,
            },
        )?;
        let mut words = std::mem::take(&mut self.scratch.words);
        for row in 0..rows {
            let addr = self.run_address(base, stride, row, count * 4)?;
            self.note(Space::Dram, false, addr, count * 4);
            words.clear();
            self.read_words(addr, count as usize, &mut words);
            self.put_words((dst + row * count) as usize, &words);
        }
        self.scratch.words = words;
        self.work.vector_bytes += 4 * count * rows;
        Ok(())
    }

    /// Appends `count` little-endian words from a mapped run.
    fn read_words(&self, addr: u64, count: usize, words: &mut Vec<u32>) {
        let mut copy = Vec::new();
        let bytes = match self.memory.slice(addr, count * 4) {
            Some(bytes) => bytes,
            None => {
                copy.resize(count * 4, 0);
                self.memory
                    .read(addr, &mut copy)
                    .expect("the run is mapped");
                &copy
            }
        };
        words.extend(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(*b)),
        );
    }

    pub(crate) fn st_v(&mut self, regs: &Regs<'_>, i: &StV) -> Result<(), Fault> {
        let addr = regs.add(i.rbase, regs.add(i.rindex, i.addr));
        let count = regs.add(i.rcount, i.count.into());
        let src = regs.add(i.rsrc, i.src.into());
        if count == 0 {
            return Ok(());
        }
        check_aligned("addr", addr, 4)?;
        self.check_vmem("src", Rect::run(src, count))?;
        self.note(Space::Vmem, false, src, count);
        let words = &self.vmem[src as usize..(src + count) as usize];
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.put_bytes(addr, &bytes)
    }

    /// Codes of 4 bits need a configuration that caches them.
    pub(crate) fn check_nibbles(&self, nibbles: u8) -> Result<(), Fault> {
        if nibbles == 1 && !self.config.has_kv4() {
            let detail = "nibbles is 1: the configuration has no cache of 4 bits".to_owned();
            return Err(Fault::new(ErrorCode::Illegal, detail));
        }
        Ok(())
    }

    pub(crate) fn st_k(&mut self, regs: &Regs<'_>, i: &StK) -> Result<(), Fault> {
        let addr = regs.add(i.rbase, regs.add(i.rindex, i.addr));
        let hw = self.config;
        let row = regs.add(i.rrow, 0) as usize % hw.tile_rows();
        let src = regs.add(i.rsrc, i.src.into());
        let blocks = u64::from(i.blocks);
        self.check_nibbles(i.nibbles)?;
        if blocks == 0 {
            return Ok(());
        }
        check_aligned("addr", addr, hw.chunk_bytes() as u64)?;
        self.check_xbuf("src", Rect::run(src, blocks))?;
        self.note(Space::Xbuf, false, src, blocks);
        let bits = if i.nibbles == 1 { 4 } else { 8 };
        let at = (hw.header_bytes() + hw.code_offset(row, bits, 0)) as u64;
        for b in 0..blocks {
            let block = self.xbuf[(src + b) as usize];
            let tile = addr + b * hw.tile_bytes(bits, true) as u64;
            let header = match bits {
                4 => nibble_header(block.scale),
                // The minimum, in the high half of the word, is zero.
                _ => u32::from(block.scale.to_f16_bits()),
            };
            let codes: Vec<u8> = block.codes.chunks_exact(8 / bits).map(byte).collect();
            self.put_bytes(tile + 4 * row as u64, &header.to_le_bytes())?;
            self.put_bytes(tile + at, &codes)?;
        }
        Ok(())
    }

    pub(crate) fn st_t(&mut self, regs: &Regs<'_>, i: &StT) -> Result<(), Fault> {
        let addr = regs.add(i.rbase, regs.add(i.rindex, i.addr));
        let column = regs.add(i.rrow, 0) % BLOCK as u64;
        let src = regs.add(i.rsrc, i.src.into());
        let (blocks, stride) = (u64::from(i.blocks), u64::from(i.stride));
        self.check_nibbles(i.nibbles)?;
        if blocks == 0 {
            return Ok(());
        }
        let hw = self.config;
        check_aligned("addr", addr, hw.chunk_bytes() as u64)?;
        check_aligned("stride", stride, hw.chunk_bytes() as u64)?;
        self.check_xbuf("src", Rect::run(src, blocks))?;
        self.note(Space::Xbuf, false, src, blocks);
        let in_byte = if i.nibbles == 1 { 2 } else { 1 };
        for b in 0..blocks {
            let codes = self.xbuf[(src + b) as usize].codes;
            let elements = (b as usize * BLOCK..).step_by(in_byte);
            for (element, codes) in elements.zip(codes.chunks_exact(in_byte)) {
                let (group, row) = (element / hw.tile_rows(), element % hw.tile_rows());
                // A pair of rows is as long as one of 8-bit codes, in the part of its rows.
                let (part, row) = (row / TILE_ROWS, row % TILE_ROWS / in_byte);
                let in_tile = hw.code_offset(TILE_ROWS * part + row, 8, 0) as u64;
                let at = addr + stride * group as u64 + in_tile + column;
                self.put_bytes(at, &[byte(codes)])?;
            }
        }
        Ok(())
    }
}
