// Purpose: takes requests out of a stream of bytes: COBS, CRC, length; writes them into a slot.
// Latency: three clocks from a delimiter to commit_o.
// Throughput: one byte per clock.
// Back-pressure: ready/valid; ready_o is low while no slot is free.
// Notes: a frame counts when commit_o comes; whatever was written before is overwritten by the next.
//        After 2^IdleLog2 clocks without a byte an open frame is dropped.

`default_nettype none

module link_deframe
  import lampyris_link_pkg::*;
#(
    parameter int unsigned IdleLog2 = 22
) (
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    // Bytes
    input  wire logic        valid_i,
    output logic             ready_o,
    input  wire logic [7:0]  data_i,
    // Slot
    input  wire logic        free_i,
    output logic             we_o,
    output logic [6:0]       waddr_o,
    output logic [31:0]      wdata_o,
    output logic             commit_o,
    output logic [6:0]       words_o,
    // One frame was dropped
    output logic             bad_o
);
  localparam int unsigned CountW = 9;
  localparam int unsigned MinBody = RequestHeader + 4;
  localparam logic [6:0] Overhead = 7'(MinBody / 4);

  if (MaxBody % 4 != 0 || MaxBody / 4 > 127) begin : g_check_body
    $error("link_deframe: a body must be whole words, and at most 127 of them");
  end

  // Stage 1: COBS.
  logic       open_q, zero_due_q;  // a frame has begun; a zero byte stands before the next group
  logic [7:0] group_q;             // bytes to come in this group
  logic       take, idle;
  logic       emit1_q, end1_q, whole1_q, idle1_q;
  logic [7:0] byte1_q;
  logic       end2_q;

  // free_i knows of a finished frame only when two bytes of the next one may have been taken. The
  // first word is written much later.
  assign ready_o = free_i;
  assign take    = valid_i && ready_o;

  always_ff @(posedge clk_i) begin
    emit1_q <= 1'b0;
    end1_q  <= 1'b0;
    idle1_q <= 1'b0;
    if (!rst_ni) begin
      open_q <= 1'b0;
    end else if (take) begin
      if (data_i == Delimiter) begin
        open_q <= 1'b0;
        end1_q <= open_q;
      end else begin
        open_q  <= 1'b1;
        emit1_q <= open_q && (group_q != '0 || zero_due_q);
      end
    end else if (idle) begin
      open_q  <= 1'b0;
      end1_q  <= open_q;
      idle1_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      whole1_q <= group_q == '0;
      byte1_q  <= (group_q == '0) ? 8'd0 : data_i;
      if (!open_q || group_q == '0) begin
        group_q    <= data_i - 1'b1;
        zero_due_q <= data_i != 8'hff;
      end else begin
        group_q <= group_q - 1'b1;
      end
    end
  end

  // Time without a byte.
  logic [IdleLog2:0] idle_q;
  assign idle = idle_q[IdleLog2];

  always_ff @(posedge clk_i) begin
    if (!open_q || valid_i || idle) idle_q <= '0;
    else idle_q <= idle_q + 1'b1;
  end

  // Stage 2: CRC, length, words.
  logic [31:0]       crc_q;
  logic [CountW-1:0] count_q;
  logic              long_q, good2_q, crc2_q;

  always_ff @(posedge clk_i) begin
    we_o     <= 1'b0;
    end2_q   <= 1'b0;
    commit_o <= 1'b0;
    bad_o    <= 1'b0;
    if (!rst_ni) begin
      count_q <= '0;
      crc_q   <= CrcInitial;
      long_q  <= 1'b0;
    end else begin
      if (emit1_q) begin
        crc_q <= crc_byte(crc_q, byte1_q);
        if (count_q == CountW'(MaxBody)) begin
          long_q <= 1'b1;
        end else begin
          count_q <= count_q + 1'b1;
          we_o    <= count_q[1:0] == 2'd3;
        end
      end
      if (end1_q) begin
        count_q <= '0;
        crc_q   <= CrcInitial;
        long_q  <= 1'b0;
        end2_q  <= 1'b1;
      end
      commit_o <= end2_q && good2_q && crc2_q;
      bad_o    <= end2_q && !(good2_q && crc2_q);
    end
  end

  always_ff @(posedge clk_i) begin
    if (emit1_q) begin
      wdata_o <= {byte1_q, wdata_o[31:8]};
      waddr_o <= count_q[CountW-1:2];
    end
    if (end1_q) begin
      words_o <= count_q[CountW-1:2] - Overhead;
      good2_q <= whole1_q && !idle1_q && !long_q && count_q[1:0] == '0 &&
                 count_q >= CountW'(MinBody);
      crc2_q  <= crc_q == CrcResidue;
    end
  end
endmodule

`default_nettype wire
