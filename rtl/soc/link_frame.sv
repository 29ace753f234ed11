// Purpose: makes a frame of a body: adds the CRC, codes it with COBS, sends it between delimiters.
// Latency: a frame starts when its body has been taken, since a code byte counts what follows.
// Throughput: one byte in per clock, two after a group of 254; one byte out per two clocks.
// Back-pressure: ready/valid on both sides; no body is taken while a frame is being sent.
// Notes: the coded frame waits in block RAM; code bytes are written after the bytes they count.

`default_nettype none

module link_frame
  import lampyris_link_pkg::*;
(
    input  wire logic       clk_i,
    input  wire logic       rst_ni,
    // Body
    input  wire logic       valid_i,
    output logic            ready_o,
    input  wire logic [7:0] data_i,
    input  wire logic       last_i,
    // Bytes of the frame
    output logic            valid_o,
    input  wire logic       ready_i,
    output logic [7:0]      data_o
);
  localparam int unsigned AddrW = 9;

  typedef enum logic [2:0] {StBody, StCrc, StFull, StClose, StStart, StRead, StOffer} state_e;
  state_e state_q, resume_q;

  logic [31:0]      crc_q;
  logic [1:0]       crc_byte_q;
  logic [AddrW-1:0] next_q, code_at_q;  // next free byte, code byte of the open group
  logic [AddrW-1:0] send_q, total_q;
  logic [7:0]       code_q;             // value of the code byte of the open group
  logic             put, fills, end_q;
  logic [7:0]       put_byte, ram_byte;
  logic             we;
  logic [AddrW-1:0] waddr;
  logic [7:0]       wdata;

  // Bytes of the body, then of the CRC.
  assign ready_o  = state_q == StBody;
  assign put      = (state_q == StBody) ? valid_i : state_q == StCrc;
  assign put_byte = (state_q == StBody) ? data_i : ~crc_q[7:0];
  assign fills    = put_byte != '0 && code_q == 8'hfe;

  // A zero byte closes its group, and its place is that of the next group's code byte.
  always_comb begin
    we    = put || state_q == StFull || state_q == StClose;
    waddr = code_at_q;
    wdata = code_q;
    if (put && put_byte != '0) begin
      waddr = next_q;
      wdata = put_byte;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StBody;
      valid_o <= 1'b0;
    end else begin
      unique case (state_q)
        StBody: begin
          if (put && last_i) state_q <= StCrc;
          if (put && fills) state_q <= StFull;
        end
        StCrc: begin
          if (crc_byte_q == '1) state_q <= StClose;
          if (fills) state_q <= StFull;
        end
        StFull:  state_q <= resume_q;
        StClose: begin
          state_q <= StStart;
          valid_o <= 1'b1;
        end
        StStart: begin
          if (ready_i) begin
            state_q <= StRead;
            valid_o <= 1'b0;
          end
        end
        StRead: begin
          state_q <= StOffer;
          valid_o <= 1'b1;
        end
        default: begin
          if (ready_i) begin
            valid_o <= 1'b0;
            state_q <= end_q ? StBody : StRead;
          end
        end
      endcase
    end
  end

  // Where a full group goes on: with the body, the CRC, or the end.
  always_ff @(posedge clk_i) begin
    if (state_q == StBody) resume_q <= last_i ? StCrc : StBody;
    if (state_q == StCrc) resume_q <= (crc_byte_q == '1) ? StClose : StCrc;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || state_q == StStart) begin
      crc_q      <= CrcInitial;
      crc_byte_q <= '0;
      code_at_q  <= '0;
      next_q     <= AddrW'(1);
      code_q     <= 8'd1;
    end else begin
      if (state_q == StBody && put) crc_q <= crc_byte(crc_q, put_byte);
      if (state_q == StCrc) begin
        crc_q      <= {8'hff, crc_q[31:8]};
        crc_byte_q <= crc_byte_q + 1'b1;
      end
      if (put || state_q == StFull) next_q <= next_q + 1'b1;
      if ((put && put_byte == '0) || state_q == StFull) begin
        code_at_q <= next_q;
        code_q    <= 8'd1;
      end else if (put) begin
        code_q <= code_q + 1'b1;
      end
    end
  end

  // Sending: a delimiter, the coded bytes, a delimiter.
  assign data_o = end_q ? Delimiter : ram_byte;

  always_ff @(posedge clk_i) begin
    if (state_q == StClose) begin
      end_q   <= 1'b1;
      send_q  <= '0;
      total_q <= next_q;
    end
    if (state_q == StRead) begin
      end_q  <= send_q == total_q;
      send_q <= send_q + 1'b1;
    end
  end

  prim_ram_1r1w #(
      .Width(8),
      .Depth(1 << AddrW),
      .MaskWidth(8)
  ) u_coded (
      .clk_i,
      .we_i(we),
      .waddr_i(waddr),
      .wmask_i(1'b1),
      .wdata_i(wdata),
      .re_i(state_q == StRead),
      .raddr_i(send_q),
      .rdata_o(ram_byte)
  );
endmodule

`default_nettype wire
