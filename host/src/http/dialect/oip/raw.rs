//! A request without JSON: the bytes of the only input, whose shape is what they make it.

use bytes::Bytes;
use selvedge_model::{Element, Tensor};
use serde_json::Map;

use super::bad;
use super::request::{Request, check_bytes};
use super::wanted::{Form, Wanted};
use super::written::push_counted;
use crate::pipeline::ClientFault;
use crate::ports::{Port, Ports, names};

/// Reads a body that is nothing but the bytes of the only input. All of the answer is binary then.
///
/// # Errors
///
/// Where the model takes several inputs, or the bytes make none of its tensors in one way.
pub(super) fn read(body: &Bytes, ports: &Ports) -> Result<Request, ClientFault> {
    let wrong = |why: String| bad("value_error", "", format!("a body without JSON {why}"));
    let [port] = ports.inputs.as_slice() else {
        let names = names(&ports.inputs);
        return Err(wrong(format!(
            "is for a model of one input, and this one takes {names}"
        )));
    };
    let mut data = Vec::new();
    let shape = if port.element == Element::Text {
        push_counted(&mut data, body);
        raw_shape(port, 1)
    } else {
        data.extend_from_slice(body);
        let size = port.element.size().unwrap_or(1);
        body.len()
            .is_multiple_of(size)
            .then(|| raw_shape(port, body.len() / size))
            .flatten()
    };
    let len = body.len();
    let shape = shape.ok_or_else(|| {
        wrong(format!(
            "has {len} bytes, which make no tensor of `{}`, {}, in one way",
            port.name,
            port.describe()
        ))
    })?;
    check_bytes(port.element, &shape, shape.iter().product(), &data)
        .map_err(|why| wrong(format!("is wrong: {why}")))?;
    let tensor = Tensor {
        element: port.element,
        shape,
        data,
    };
    let wanted = Wanted {
        outputs: Vec::new(),
        form: Form::Binary,
    };
    Ok(Request {
        id: None,
        parameters: Map::new(),
        inputs: vec![(port.name.clone(), tensor)],
        form: Form::Binary,
        wanted,
        time_max: None,
    })
}

/// The shape of so many elements, where it can be told: one dimension may be open, or several where there is one element.
fn raw_shape(port: &Port, count: usize) -> Option<Vec<usize>> {
    let open = port.shape.iter().filter(|dim| **dim < 0).count();
    let mut fixed = port.shape.iter().filter_map(|dim| usize::try_from(*dim).ok());
    let fixed = fixed.try_fold(1_usize, usize::checked_mul)?;
    let rest = match open {
        0 => (fixed == count).then_some(1),
        1 => (fixed > 0 && count.is_multiple_of(fixed)).then(|| count / fixed),
        _ => (fixed == 1 && count == 1).then_some(1),
    }?;
    let dim = |dim: &i64| usize::try_from(*dim).unwrap_or(rest);
    Some(port.shape.iter().map(dim).collect())
}

#[cfg(test)]
mod tests {
    use super::raw_shape;
    use crate::ports::Port;
    use selvedge_model::Element;

    #[test]
    fn one_open_dimension_is_what_the_bytes_make_it() {
        for (shape, count, found) in [
            (&[-1_i64, 4][..], 8, Some(vec![2, 4])),
            (&[-1, 4], 0, Some(vec![0, 4])),
            (&[-1, 4], 7, None),
            (&[2, 4], 8, Some(vec![2, 4])),
            (&[2, 4], 16, None),
            (&[-1, -1], 8, None),
            (&[-1, -1], 1, Some(vec![1, 1])),
            (&[-1, 0], 0, None),
            (&[], 1, Some(vec![])),
            (&[], 2, None),
        ] {
            let port = Port {
                name: "x".to_owned(),
                element: Element::Float32,
                shape: shape.to_vec(),
            };
            assert_eq!(raw_shape(&port, count), found, "{shape:?} of {count}");
        }
    }
}
