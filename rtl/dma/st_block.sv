// Purpose: turns activation blocks into the single-beat writes of st.k and st.t.
// Latency: three cycles from a block's read to its first write.
// Throughput: one write per cycle; a block's read adds two cycles.
// Back-pressure: write_ready_i means that address and data are both taken.
// Notes: st.k writes a scale and 32 codes as a row of a tile, st.t each code as a byte of a column,
//        or a pair of 4-bit codes. With several channels, row r of a tile is row r mod 16 of the
//        part of channel r / 16.

`default_nettype none

module st_block #(
    parameter int unsigned AxiBits    = 256,
    parameter int unsigned Channels   = 1,
    parameter bit          Kv4        = 1'b1,
    parameter int unsigned XbufBlocks = 4096,
    localparam int unsigned RowW      = Channels > 2 ? 4 + $clog2(Channels) : 5
) (
    input  wire logic                               clk_i,
    input  wire logic                               rst_ni,
    input  wire logic                               clr_i,
    input  wire logic                               start_i,
    input  wire logic                               column_i,
    input  wire logic                               nibbles_i,
    input  wire logic [39:0]                        addr_i,
    input  wire logic [31:0]                        stride_i,
    input  wire logic [RowW-1:0]                    row_i,
    input  wire logic [$clog2(XbufBlocks)-1:0]      src_i,
    input  wire logic [7:0]                         blocks_i,
    output logic                                    xrd_valid_o,
    output logic [$clog2(XbufBlocks)-1:0]           xrd_addr_o,
    input  wire logic                               xrd_ready_i,
    input  wire lampyris_pkg::act_block_t           xrd_data_i,
    output logic                                    write_valid_o,
    input  wire logic                               write_ready_i,
    output logic [39:0]                             write_addr_o,
    output logic [AxiBits-1:0]                      write_data_o,
    output logic [AxiBits/8-1:0]                    write_strb_o,
    output logic                                    done_o
);
  localparam int unsigned Bytes = AxiBits / 8;
  localparam int unsigned ByteW = $clog2(Bytes);
  localparam int unsigned CodeBits = AxiBits < 256 ? AxiBits : 256;
  // st.k: the scale, then the codes in as many beats as they need.
  localparam int unsigned RowWrites = 1 + 256 / CodeBits;
  localparam int unsigned ChannelsLog2 = $clog2(Channels);
  localparam int unsigned TileW = 4 + ChannelsLog2;
  localparam int unsigned TileBytes = 576 * Channels, NibbleTileBytes = 320 * Channels;

  typedef enum logic [1:0] {StIdle, StRead, StTake, StWrite} state_e;

  state_e state_q;
  logic [$clog2(XbufBlocks)-1:0] src_q;
  logic [7:0] blocks_q;
  logic [4:0] step_q;  // st.k: write of the block, st.t: code or pair of codes of the block
  logic [4:0] last_step;
  logic [TileW-1:0] element_q;  // st.t: row of the code, or of the pair's second, in its tile
  logic [39:0] tile_q;
  lampyris_pkg::act_block_t block_q;
  logic step_end, written, nibbles, tile_end, unused_block;

  assign unused_block  = ^block_q;
  assign xrd_valid_o   = state_q == StRead;
  assign xrd_addr_o    = src_q;
  assign write_valid_o = state_q == StWrite;
  assign written       = write_valid_o && write_ready_i;
  assign nibbles       = Kv4 && nibbles_i;
  always_comb begin
    if (column_i) last_step = nibbles ? 5'd15 : 5'd31;
    else last_step = nibbles ? 5'd1 : 5'(RowWrites - 1);
  end
  assign step_end      = step_q == last_step;
  assign tile_end      = &element_q;
  assign done_o        = written && step_end && blocks_q == 8'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clr_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:  if (start_i) state_q <= StRead;
        StRead:  if (xrd_ready_i) state_q <= StTake;
        StTake:  state_q <= StWrite;
        default: if (written && step_end) state_q <= done_o ? StIdle : StRead;
      endcase
    end
    if (state_q == StTake) block_q <= xrd_data_i;
    if (start_i) begin
      src_q     <= src_i;
      blocks_q  <= blocks_i;
      tile_q    <= addr_i;
      step_q    <= '0;
      // Of a pair the second counts, so that the last row ends a tile either way.
      element_q <= TileW'(nibbles);
    end else if (written) begin
      step_q    <= step_end ? '0 : step_q + 5'd1;
      element_q <= element_q + (nibbles ? TileW'(2) : TileW'(1));
      if (step_end) begin
        src_q    <= src_q + 1'b1;
        blocks_q <= blocks_q - 8'd1;
      end
      if (column_i && tile_end) tile_q <= tile_q + 40'(stride_i);
      else if (!column_i && step_end) begin
        tile_q <= tile_q + 40'(nibbles ? NibbleTileBytes : TileBytes);
      end
    end
  end

  // ------------------------------------------------------------------ address, data, strobes
  logic [4:0] f16_exponent;
  logic [15:0] minimum;
  logic [31:0] scale;
  logic [6:0] row;
  logic [12:0] code_row, nibble_row, pair_row, displacement;
  logic [39:0] address;
  logic [CodeBits-1:0] codes;
  logic [15:0][7:0] pairs;  // 4-bit codes, plus 8
  logic [7:0] code;

  assign f16_exponent = block_q.exponent[4:0] - 5'd16;
  // With 4-bit codes the minimum is -8 times the scale.
  assign minimum      = nibbles ? {1'b1, f16_exponent + 5'd3, block_q.significand, 3'b0} : 16'd0;
  assign scale        = {minimum, 1'b0, f16_exponent, block_q.significand, 3'b0};
  assign code         = nibbles ? pairs[step_q[3:0]] : block_q.codes[step_q];
  for (genvar p = 0; p < 16; p++) begin : gen_pairs
    assign pairs[p] = {block_q.codes[2*p+1][3:0], block_q.codes[2*p][3:0]} ^ 8'h88;
  end

  if (CodeBits == 256) begin : gen_whole
    assign codes = block_q.codes;
  end else begin : gen_half
    assign codes = step_q[1] ? block_q.codes[31:16] : block_q.codes[15:0];
  end

  // A row of 8-bit codes is half a chunk of its channel, as is a pair of rows of 4-bit codes; a chunk
  // has 64 bytes of every channel.
  assign row      = column_i ? 7'(element_q) : 7'(row_i[TileW-1:0]);
  assign code_row = (13'(row[3:1]) << (6 + ChannelsLog2)) | {4'b0, row[6:4], row[0], 5'b0};
  assign nibble_row = (13'(row[3:2]) << (6 + ChannelsLog2)) | {4'b0, row[6:4], row[1:0], 4'b0};
  assign pair_row   = (13'(row[3:2]) << (6 + ChannelsLog2)) | {4'b0, row[6:4], row[1], 5'b0};

  always_comb begin
    if (column_i) displacement = (nibbles ? pair_row : code_row) | 13'(row_i[4:0]);
    else if (step_q == 0) displacement = {4'b0, row, 2'b0};
    else if (nibbles) displacement = 13'(64 * Channels) + nibble_row;
    else displacement = 13'(64 * Channels) + code_row + (CodeBits == 256 || !step_q[1] ? 13'd0 : 13'd16);
  end
  assign address      = tile_q + 40'(displacement);
  assign write_addr_o = {address[39:ByteW], ByteW'(0)};

  always_comb begin
    if (column_i) begin
      write_data_o = {Bytes{code}};
      write_strb_o = Bytes'(1) << address[ByteW-1:0];
    end else if (step_q == 0) begin
      write_data_o = {AxiBits / 32{scale}};
      write_strb_o = Bytes'(4'hf) << address[ByteW-1:0];
    end else if (nibbles) begin
      write_data_o = {AxiBits / 128{pairs}};
      write_strb_o = Bytes'(16'hffff) << address[ByteW-1:0];
    end else begin
      write_data_o = {AxiBits / CodeBits{codes}};
      write_strb_o = Bytes'({CodeBits / 8{1'b1}}) << address[ByteW-1:0];
    end
  end
endmodule

`default_nettype wire
