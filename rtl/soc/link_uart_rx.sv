// Purpose: receiver of a UART: 8 data bits, no parity, at least one stop bit, low bit first.
// Latency: a byte is offered two clocks after the middle of its stop bit.
// Throughput: one byte per ten bit times.
// Back-pressure: none towards the wire; a byte that is not taken in the clock it is offered is lost.
// Notes: ClocksPerBit is in units of 1/256 clock, at least 4 clocks. Each bit is the majority of
//        three samples around its middle. lost_o marks a byte without a stop bit.

`default_nettype none

module link_uart_rx #(
    parameter int unsigned ClocksPerBit = 4267
) (
    input  wire logic       clk_i,
    input  wire logic       rst_ni,
    input  wire logic       rx_i,
    output logic            valid_o,
    output logic [7:0]      data_o,
    output logic            lost_o
);
  localparam int unsigned TimeW = 24;
  // The start bit is seen one clock before the counter starts, and the majority is that of one
  // clock before: these two cancel.
  localparam logic [TimeW-1:0] HalfBit = TimeW'(ClocksPerBit / 2);
  localparam logic [TimeW-1:0] Bit = TimeW'(ClocksPerBit);

  if (ClocksPerBit < 4 * 256 || ClocksPerBit >= 32'd1 << (TimeW - 1)) begin : g_check_rate
    $error("link_uart_rx: ClocksPerBit must be 4 to 32767 clocks, times 256");
  end

  typedef enum logic [1:0] {StIdle, StBits, StBreak} state_e;
  state_e state_q;

  // Two registers against metastability, then three samples.
  logic meta_q, sync_q;
  logic [2:0] samples_q;
  logic line;

  always_ff @(posedge clk_i) begin
    meta_q    <= rx_i;
    sync_q    <= meta_q;
    samples_q <= {samples_q[1:0], sync_q};
  end

  assign line = (samples_q[0] && samples_q[1]) || (samples_q[1] && samples_q[2]) ||
                (samples_q[0] && samples_q[2]);

  // Time to the middle of the next bit, and which bit that is: 0 start, 1 to 8 data, 9 stop.
  logic [TimeW-1:0] left_q;
  logic [3:0] index_q;
  logic middle;

  assign middle = left_q < TimeW'(256);

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) left_q <= HalfBit;
    else if (middle) left_q <= left_q + Bit - TimeW'(256);
    else left_q <= left_q - TimeW'(256);
  end

  always_ff @(posedge clk_i) begin
    if (middle && index_q < 4'd9) data_o <= {line, data_o[7:1]};
  end

  always_ff @(posedge clk_i) begin
    valid_o <= 1'b0;
    lost_o  <= 1'b0;
    if (!rst_ni) begin
      state_q <= StBreak;
      index_q <= '0;
    end else begin
      unique case (state_q)
        StIdle: begin
          index_q <= '0;
          if (!samples_q[0]) state_q <= StBits;
        end
        StBits: begin
          if (middle) begin
            index_q <= index_q + 1'b1;
            // A start bit that is gone in its middle was a glitch.
            if (index_q == '0 && line) state_q <= StIdle;
            if (index_q == 4'd9) begin
              state_q <= line ? StIdle : StBreak;
              valid_o <= line;
              lost_o  <= !line;
            end
          end
        end
        default: begin
          // No byte starts before the line was idle.
          if (samples_q == '1) state_q <= StIdle;
        end
      endcase
    end
  end
endmodule

`default_nettype wire
