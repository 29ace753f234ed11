// Purpose: the words of a response's payload, and the response as a stream of bytes without CRC.
// Latency: the first byte is offered two clocks after start_i.
// Throughput: one byte per clock.
// Back-pressure: ready/valid; payload may be written and start_i set only while busy_o is low.
// Notes: payload is block RAM or distributed RAM; its words keep the order of their index.

`default_nettype none

module link_reply
  import lampyris_link_pkg::*;
(
    input  wire logic        clk_i,
    input  wire logic        rst_ni,
    // Payload
    input  wire logic        we_i,
    input  wire logic [5:0]  index_i,
    input  wire logic [31:0] word_i,
    // Response
    input  wire logic        start_i,
    input  wire logic [7:0]  seq_i,
    input  wire logic [7:0]  command_i,
    input  wire logic [6:0]  words_i,
    input  wire logic [7:0]  status_i,
    output logic             busy_o,
    // Bytes
    output logic             valid_o,
    input  wire logic        ready_i,
    output logic [7:0]       data_o,
    output logic             last_o
);
  logic [31:0] shift_q, payload;
  logic [1:0]  byte_q;
  logic [6:0]  left_q;
  logic [5:0]  raddr_q;
  logic        next_word;

  assign busy_o    = valid_o;
  assign data_o    = shift_q[7:0];
  assign last_o    = byte_q == '1 && left_q == '0;
  assign next_word = valid_o && ready_i && byte_q == '1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else if (start_i) valid_o <= 1'b1;
    else if (next_word && left_q == '0) valid_o <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      shift_q <= {status_i, 1'b0, words_i, command_i | ResponseBit, seq_i};
      byte_q  <= '0;
      left_q  <= words_i;
      raddr_q <= '0;
    end else if (valid_o && ready_i) begin
      shift_q <= {8'd0, shift_q[31:8]};
      byte_q  <= byte_q + 1'b1;
      if (byte_q == '1) begin
        shift_q <= payload;
        left_q  <= left_q - 1'b1;
        raddr_q <= raddr_q + 1'b1;
      end
    end
  end

  // A word lasts four bytes, so that the next one is read long before it is needed.
  prim_ram_1r1w #(
      .Width(32),
      .Depth(64),
      .MaskWidth(32)
  ) u_payload (
      .clk_i,
      .we_i,
      .waddr_i(index_i),
      .wmask_i(1'b1),
      .wdata_i(word_i),
      .re_i(1'b1),
      .raddr_i(raddr_q),
      .rdata_o(payload)
  );
endmodule

`default_nettype wire
