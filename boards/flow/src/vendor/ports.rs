//! Ports of a module, from the header in its source. The header's form is that of `rtl/README.md`:
//! one port a line.

/// The header of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Parameters, in order.
    pub parameters: Vec<String>,
    /// Ports, in order.
    pub ports: Vec<Declared>,
}

/// A port as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Name.
    pub name: String,
    /// Whether it is an input.
    pub input: bool,
    /// The highest bit, in terms of parameters; one bit if there is none.
    pub high: Option<String>,
}

/// A port with its width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Whether it is an input.
    pub input: bool,
    /// Bits.
    pub width: u32,
}

impl Declared {
    /// The port for values of the parameters; none if the width is not understood.
    pub fn resolve(&self, value: &impl Fn(&str) -> Option<u32>) -> Option<Port> {
        let width = match &self.high {
            None => 1,
            Some(high) => number(high, value)? + 1,
        };
        Some(Port {
            name: self.name.clone(),
            input: self.input,
            width,
        })
    }
}

/// `N`, `P-1`, `P/8-1`, `2*P-1` with numbers and parameters.
fn number(text: &str, value: &impl Fn(&str) -> Option<u32>) -> Option<u32> {
    if let Some((left, right)) = text.rsplit_once('-') {
        return number(left, value)?.checked_sub(number(right, value)?);
    }
    if let Some((left, right)) = text.rsplit_once('*') {
        return number(left, value)?.checked_mul(number(right, value)?);
    }
    if let Some((left, right)) = text.rsplit_once('/') {
        return number(left, value)?.checked_div(number(right, value)?);
    }
    let text = text.trim();
    text.parse().ok().or_else(|| value(text))
}

/// The header of `module` in a source; none if it is not there or not understood.
pub fn of_module(source: &str, module: &str) -> Option<Module> {
    let (_, rest) = source.split_once(&format!("module {module}"))?;
    let (head, rest) = rest.split_once(") (\n")?;
    let (body, _) = rest.split_once("\n);")?;
    let parameters = head
        .lines()
        .filter_map(|line| line.trim().strip_prefix("parameter "))
        .map(|line| {
            let (left, _) = line.split_once('=')?;
            Some(left.split_whitespace().last()?.to_owned())
        });
    let ports = body
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    let ports = ports.map(str::trim).filter(|line| !line.is_empty());
    Some(Module {
        parameters: parameters.collect::<Option<_>>()?,
        ports: ports.map(port).collect::<Option<_>>()?,
    })
}

fn port(line: &str) -> Option<Declared> {
    let line = line.trim_end_matches(',');
    let (input, rest) = match line.strip_prefix("input ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("output ")?),
    };
    let high = match rest.split_once('[') {
        None => None,
        Some((_, range)) => {
            let (high, _) = range.split_once(":0]")?;
            Some(high.trim().to_owned())
        }
    };
    let name = line.split_whitespace().last()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(plain).then(|| Declared {
        name: name.to_owned(),
        input,
        high,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "// a module x\nmodule x #(\n    parameter int unsigned Bits = 8\n) (\n    \
        // Data.\n    input  wire logic clk, // one\n    output logic [Bits/8-1:0] strb,\n    \
        output logic [63:0] addr\n);\nendmodule\n";

    #[test]
    fn headers_are_read_with_their_widths() {
        let module = of_module(SOURCE, "x").unwrap();
        assert_eq!(module.parameters, ["Bits"]);
        let value = |name: &str| (name == "Bits").then_some(256);
        let ports: Vec<_> = module.ports.iter().map(|p| p.resolve(&value)).collect();
        let port = |name: &str, input, width| {
            Some(Port {
                name: name.into(),
                input,
                width,
            })
        };
        let wanted = [
            port("clk", true, 1),
            port("strb", false, 32),
            port("addr", false, 64),
        ];
        assert_eq!(ports, wanted);
        let other = |_: &str| None;
        assert_eq!(module.ports[1].resolve(&other), None);
    }

    #[test]
    fn what_is_not_understood_is_no_header() {
        assert_eq!(of_module(SOURCE, "y"), None);
        assert_eq!(of_module(&SOURCE.replace("[63:0]", "[63:1]"), "x"), None);
        assert_eq!(
            of_module(&SOURCE.replace("output logic [63", "inout [63"), "x"),
            None
        );
    }
}
