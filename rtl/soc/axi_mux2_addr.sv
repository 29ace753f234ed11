// Purpose: one address channel of two AXI4 masters at one slave.
// Latency: two cycles.
// Throughput: one address a cycle.
// Back-pressure: ready/valid; each master has a FIFO of two, so its ready depends on itself alone.
// Notes: round robin. take_o is set when the address of master_o is chosen, which needs may_i.

`default_nettype none

module axi_mux2_addr (
    input  wire logic             clk_i,
    input  wire logic             rst_ni,
    // Masters
    input  wire logic [1:0]       s_valid_i,
    output logic [1:0]            s_ready_o,
    input  wire logic [1:0][39:0] s_addr_i,
    input  wire logic [1:0]       s_id_i,
    input  wire logic [1:0][7:0]  s_len_i,
    input  wire logic [1:0][2:0]  s_size_i,
    input  wire logic [1:0][1:0]  s_burst_i,
    // Choice
    input  wire logic             may_i,
    output logic                  take_o,
    output logic                  master_o,
    // Slave
    output logic                  m_valid_o,
    input  wire logic             m_ready_i,
    output logic [39:0]           m_addr_o,
    output logic [1:0]            m_id_o,
    output logic [7:0]            m_len_o,
    output logic [2:0]            m_size_o,
    output logic [1:0]            m_burst_o
);
  typedef struct packed {
    logic [39:0] addr;
    logic [7:0]  len;
    logic [2:0]  size;
    logic [1:0]  burst;
    logic        id;
  } addr_t;

  logic [1:0] waiting, pop;
  logic open, last_q;
  addr_t [1:0] head;
  addr_t out_q;
  logic [1:0][1:0] unused_usage;

  for (genvar m = 0; m < 2; m++) begin : g_master
    addr_t in;
    assign in = '{addr: s_addr_i[m], len: s_len_i[m], size: s_size_i[m], burst: s_burst_i[m], id: s_id_i[m]};

    prim_fifo #(
        .Width($bits(addr_t)),
        .Depth(2)
    ) u_fifo (
        .clk_i,
        .rst_ni,
        .clr_i   (1'b0),
        .wvalid_i(s_valid_i[m]),
        .wready_o(s_ready_o[m]),
        .wdata_i (in),
        .rvalid_o(waiting[m]),
        .rready_i(pop[m]),
        .rdata_o (head[m]),
        .usage_o (unused_usage[m])
    );
  end

  assign open     = !m_valid_o || m_ready_i;
  assign master_o = waiting[1] && !(waiting[0] && last_q);
  assign take_o   = open && may_i && waiting != 0;
  assign pop      = {take_o && master_o, take_o && !master_o};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_valid_o <= 1'b0;
      last_q    <= 1'b0;
    end else begin
      if (open) m_valid_o <= take_o;
      if (take_o) last_q <= master_o;
    end
    if (take_o) begin
      out_q     <= head[master_o];
      m_id_o[1] <= master_o;
    end
  end

  assign m_addr_o  = out_q.addr;
  assign m_len_o   = out_q.len;
  assign m_size_o  = out_q.size;
  assign m_burst_o = out_q.burst;
  assign m_id_o[0] = out_q.id;
endmodule

`default_nettype wire
