// Purpose: the host link (docs/link.md) over a UART: registers and memory for a host with a serial port.
// Latency: see link_core; a byte takes ten bit times on each way.
// Throughput: one byte per ten bit times in each direction.
// Back-pressure: none towards the host: a byte without room is lost, and its frame is dropped.
// Notes: ClocksPerBit is in units of 1/256 clock, at least 4 clocks: 4267 is 3 Mbaud at 50 MHz.
//        Another link replaces the UART with its own source and sink of bytes at link_core.

`default_nettype none

module link_top #(
    parameter int unsigned AxiBits       = 256,
    parameter int unsigned ConfigHash    = 0,
    parameter int unsigned ClockKhz      = 50000,
    parameter int unsigned ClocksPerBit  = 4267,
    parameter int unsigned TimeoutClocks = 1048576,
    parameter int unsigned IdleLog2      = 22
) (
    input  wire logic                 clk_i,
    input  wire logic                 rst_ni,
    input  wire logic                 uart_rx_i,
    output logic                      uart_tx_o,
    // Reset of the accelerator
    output logic                      host_reset_o,
    // Host registers
    output logic                      m_axi_control_awvalid,
    input  wire logic                 m_axi_control_awready,
    output logic [11:0]               m_axi_control_awaddr,
    output logic                      m_axi_control_wvalid,
    input  wire logic                 m_axi_control_wready,
    output logic [31:0]               m_axi_control_wdata,
    output logic [3:0]                m_axi_control_wstrb,
    input  wire logic                 m_axi_control_bvalid,
    output logic                      m_axi_control_bready,
    input  wire logic [1:0]           m_axi_control_bresp,
    output logic                      m_axi_control_arvalid,
    input  wire logic                 m_axi_control_arready,
    output logic [11:0]               m_axi_control_araddr,
    input  wire logic                 m_axi_control_rvalid,
    output logic                      m_axi_control_rready,
    input  wire logic [31:0]          m_axi_control_rdata,
    input  wire logic [1:0]           m_axi_control_rresp,
    // Memory
    output logic                      m_axi_gmem_arvalid,
    input  wire logic                 m_axi_gmem_arready,
    output logic [39:0]               m_axi_gmem_araddr,
    output logic                      m_axi_gmem_arid,
    output logic [7:0]                m_axi_gmem_arlen,
    output logic [2:0]                m_axi_gmem_arsize,
    output logic [1:0]                m_axi_gmem_arburst,
    input  wire logic                 m_axi_gmem_rvalid,
    output logic                      m_axi_gmem_rready,
    input  wire logic [AxiBits-1:0]   m_axi_gmem_rdata,
    input  wire logic                 m_axi_gmem_rid,
    input  wire logic                 m_axi_gmem_rlast,
    input  wire logic [1:0]           m_axi_gmem_rresp,
    output logic                      m_axi_gmem_awvalid,
    input  wire logic                 m_axi_gmem_awready,
    output logic [39:0]               m_axi_gmem_awaddr,
    output logic                      m_axi_gmem_awid,
    output logic [7:0]                m_axi_gmem_awlen,
    output logic [2:0]                m_axi_gmem_awsize,
    output logic [1:0]                m_axi_gmem_awburst,
    output logic                      m_axi_gmem_wvalid,
    input  wire logic                 m_axi_gmem_wready,
    output logic [AxiBits-1:0]        m_axi_gmem_wdata,
    output logic [AxiBits/8-1:0]      m_axi_gmem_wstrb,
    output logic                      m_axi_gmem_wlast,
    input  wire logic                 m_axi_gmem_bvalid,
    output logic                      m_axi_gmem_bready,
    input  wire logic                 m_axi_gmem_bid,
    input  wire logic [1:0]           m_axi_gmem_bresp
);
  logic       uart_valid, uart_lost, room;
  logic [7:0] uart_data;
  logic       rx_valid, rx_ready, rx_lost, tx_valid, tx_ready;
  logic [7:0] rx_data, tx_data;
  logic [4:0] unused_usage;

  link_uart_rx #(
      .ClocksPerBit(ClocksPerBit)
  ) u_uart_rx (
      .clk_i,
      .rst_ni,
      .rx_i   (uart_rx_i),
      .valid_o(uart_valid),
      .data_o (uart_data),
      .lost_o (uart_lost)
  );

  // Bytes that arrive while a request is being put away.
  prim_fifo #(
      .Width(8),
      .Depth(16)
  ) u_bytes (
      .clk_i,
      .rst_ni,
      .clr_i   (1'b0),
      .wvalid_i(uart_valid),
      .wready_o(room),
      .wdata_i (uart_data),
      .rvalid_o(rx_valid),
      .rready_i(rx_ready),
      .rdata_o (rx_data),
      .usage_o (unused_usage)
  );

  always_ff @(posedge clk_i) begin
    rx_lost <= uart_lost || (uart_valid && !room);
  end

  link_core #(
      .AxiBits      (AxiBits),
      .ConfigHash   (ConfigHash),
      .ClockKhz     (ClockKhz),
      .TimeoutClocks(TimeoutClocks),
      .IdleLog2     (IdleLog2)
  ) u_core (
      .clk_i,
      .rst_ni,
      .rx_valid_i(rx_valid),
      .rx_ready_o(rx_ready),
      .rx_data_i (rx_data),
      .rx_lost_i (rx_lost),
      .tx_valid_o(tx_valid),
      .tx_ready_i(tx_ready),
      .tx_data_o (tx_data),
      .host_reset_o,
      .m_axi_control_awvalid,
      .m_axi_control_awready,
      .m_axi_control_awaddr,
      .m_axi_control_wvalid,
      .m_axi_control_wready,
      .m_axi_control_wdata,
      .m_axi_control_wstrb,
      .m_axi_control_bvalid,
      .m_axi_control_bready,
      .m_axi_control_bresp,
      .m_axi_control_arvalid,
      .m_axi_control_arready,
      .m_axi_control_araddr,
      .m_axi_control_rvalid,
      .m_axi_control_rready,
      .m_axi_control_rdata,
      .m_axi_control_rresp,
      .m_axi_gmem_arvalid,
      .m_axi_gmem_arready,
      .m_axi_gmem_araddr,
      .m_axi_gmem_arid,
      .m_axi_gmem_arlen,
      .m_axi_gmem_arsize,
      .m_axi_gmem_arburst,
      .m_axi_gmem_rvalid,
      .m_axi_gmem_rready,
      .m_axi_gmem_rdata,
      .m_axi_gmem_rid,
      .m_axi_gmem_rlast,
      .m_axi_gmem_rresp,
      .m_axi_gmem_awvalid,
      .m_axi_gmem_awready,
      .m_axi_gmem_awaddr,
      .m_axi_gmem_awid,
      .m_axi_gmem_awlen,
      .m_axi_gmem_awsize,
      .m_axi_gmem_awburst,
      .m_axi_gmem_wvalid,
      .m_axi_gmem_wready,
      .m_axi_gmem_wdata,
      .m_axi_gmem_wstrb,
      .m_axi_gmem_wlast,
      .m_axi_gmem_bvalid,
      .m_axi_gmem_bready,
      .m_axi_gmem_bid,
      .m_axi_gmem_bresp
  );

  link_uart_tx #(
      .ClocksPerBit(ClocksPerBit)
  ) u_uart_tx (
      .clk_i,
      .rst_ni,
      .valid_i(tx_valid),
      .ready_o(tx_ready),
      .data_i (tx_data),
      .tx_o   (uart_tx_o)
  );
endmodule

`default_nettype wire
