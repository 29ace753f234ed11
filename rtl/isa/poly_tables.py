#!/usr/bin/env python3
"""Writes src/poly_tables.rs: a quadratic through the Chebyshev nodes of each segment, in
50-digit arithmetic, so that the table does not depend on any platform's libm."""
from decimal import Decimal, getcontext
getcontext().prec=50
def fit(f, lo, h):
    # nodes at chebyshev points of t in [0,1]
    import math
    ts=[Decimal(repr(0.5-0.5*math.cos((2*k+1)*math.pi/6))) for k in range(3)]
    ys=[f(lo+h*t) for t in ts]
    # Newton form
    d01=(ys[1]-ys[0])/(ts[1]-ts[0]); d12=(ys[2]-ys[1])/(ts[2]-ts[1]); d=(d12-d01)/(ts[2]-ts[0])
    c2=d; c1=d01-d*(ts[0]+ts[1]); c0=ys[0]-d01*ts[0]+d*ts[0]*ts[1]
    s=Decimal(2)**27
    r=lambda v:int((v*s).to_integral_value(rounding='ROUND_HALF_EVEN'))
    return r(c0)+ 1, r(c1), r(c2)  # +1 centres the truncation error of the two products
two=Decimal(2)
def tab(name,f,seg):
    out=[]
    for i in range(128):
        lo,h=seg(i); out.append(fit(f,lo,h))
    s="pub(crate) const %s: [Segment; 128] = [\n"%name
    for i in range(0,128,3): s+="    "+" ".join("(%d, %d, %d),"%t for t in out[i:i+3])+"\n"
    return s+"];\n", out
ex,a=tab("EXP2",lambda x: two**x, lambda i:(Decimal(i)/128,Decimal(1)/128))
re,b=tab("RECIP",lambda x:1/x, lambda i:(1+Decimal(i)/128,Decimal(1)/128))
rs,c=tab("RSQRT",lambda x:1/x.sqrt(), lambda i:((1+Decimal(i)/64) if i<64 else (2*(1+Decimal(i-64)/64)), Decimal(1)/64 if i<64 else Decimal(1)/32))
open("src/poly_tables.rs","w").write("""//! Coefficients of the quadratics behind [`crate::num::exp2`], [`crate::num::recip`] and
//! [`crate::num::rsqrt`]: interpolation at the Chebyshev nodes of each segment, in units of
//! 2^-27. `rtl/isa/poly_tables.py` writes this file; the unit tests of `num` bound the error.

/// (c0, c1, c2) of c0 + c1 t + c2 t^2 for t in [0, 1).
pub(crate) type Segment = (i32, i32, i32);

#[rustfmt::skip]
"""+ex+"\n#[rustfmt::skip]\n"+re+"\n#[rustfmt::skip]\n"+rs)
