//! The classification extension: of an output, the greatest values with their places and names.

use selvedge_model::Element;
use selvedge_plugin::value::Tensor;

use super::written::{chunks, push_counted};
use crate::pipeline::convert::{element_in, element_out};

/// What the values of an output stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Classes {
    /// Each place in a row for a class of these names; there may be none.
    ByPlace(Vec<String>),
    /// In each row other classes: their number, and their name.
    ByRow(Vec<Vec<(usize, String)>>),
}

impl Classes {
    fn of(&self, row: usize, place: usize) -> (usize, Option<&str>) {
        match self {
            Self::ByPlace(names) => (place, names.get(place).map(String::as_str)),
            Self::ByRow(rows) => {
                let class = rows.get(row).and_then(|classes| classes.get(place));
                class.map_or((place, None), |(number, name)| (*number, Some(name)))
            }
        }
    }
}

/// The `count` greatest values of each row, as `value:number:name`. The first dimension counts the rows, where there are several.
///
/// # Errors
///
/// Where the values have no order.
pub(super) fn greatest(tensor: &Tensor, count: usize, classes: &Classes) -> Result<Tensor, String> {
    let values = values(tensor)?;
    let rows = match tensor.shape.as_slice() {
        // Of nothing there is nothing to choose, however many rows it has.
        [_, _, ..] if values.is_empty() => 0,
        [rows, _, ..] => *rows as usize,
        _ => 1,
    };
    let width = values.len().checked_div(rows).unwrap_or_default();
    let count = count.min(width);
    let mut data = Vec::new();
    for row in 0..rows {
        let row_values = &values[row * width..(row + 1) * width];
        let mut places: Vec<usize> = (0..width).collect();
        places.sort_by(|a, b| row_values[*b].0.total_cmp(&row_values[*a].0));
        for place in places.into_iter().take(count) {
            let (number, name) = classes.of(row, place);
            let name = name.map(|name| format!(":{name}")).unwrap_or_default();
            push_counted(
                &mut data,
                format!("{}:{number}{name}", row_values[place].1).as_bytes(),
            );
        }
    }
    let width = u32::try_from(count).unwrap_or(u32::MAX);
    let shape = match tensor.shape.as_slice() {
        [rows, _, ..] => vec![*rows, width],
        _ => vec![width],
    };
    Ok(Tensor {
        element: element_out(Element::Text),
        shape,
        data: data.into(),
    })
}

/// Each value for its order, and as it is written.
fn values(tensor: &Tensor) -> Result<Vec<(f64, String)>, String> {
    /// Numbers of a type that any other number can be compared with.
    macro_rules! numbers {
        ($type:ty, $wide:expr) => {
            chunks(&tensor.data)
                .map(|bytes| {
                    let value = <$type>::from_le_bytes(bytes);
                    ($wide(value), value.to_string())
                })
                .collect()
        };
    }
    #[expect(clippy::cast_precision_loss, reason = "it is the order that counts")]
    Ok(match element_in(tensor.element) {
        Element::Uint8 => numbers!(u8, f64::from),
        Element::Uint16 => numbers!(u16, f64::from),
        Element::Uint32 => numbers!(u32, f64::from),
        Element::Uint64 => numbers!(u64, |value| value as f64),
        Element::Int8 => numbers!(i8, f64::from),
        Element::Int16 => numbers!(i16, f64::from),
        Element::Int32 => numbers!(i32, f64::from),
        Element::Int64 => numbers!(i64, |value| value as f64),
        Element::Float16 => numbers!(half::f16, f64::from),
        Element::Bfloat16 => numbers!(half::bf16, f64::from),
        Element::Float32 => numbers!(f32, f64::from),
        Element::Float64 => numbers!(f64, f64::from),
        other @ (Element::Boolean | Element::Text) => {
            return Err(format!("elements of {} have no greatest", other.name()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Classes, greatest};
    use crate::http::dialect::oip::written::counted;
    use selvedge_plugin::value::{Element, Tensor};

    fn texts(shape: &[u32], values: &[f32], count: usize, classes: &Classes) -> (Vec<u32>, Vec<String>) {
        let tensor = Tensor {
            element: Element::Float32,
            shape: shape.to_vec(),
            data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
        };
        let found = greatest(&tensor, count, classes).expect("numbers");
        let texts = counted(&found.data).expect("counted");
        let texts = texts
            .into_iter()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        (found.shape, texts.collect())
    }

    #[test]
    fn gives_the_greatest_of_each_row_with_their_names() {
        let names = Classes::ByPlace(vec!["ham".to_owned(), "spam".to_owned()]);
        let (shape, found) = texts(&[2, 3], &[0.1, 0.7, 0.2, 5.0, -1.0, 6.5], 2, &names);
        assert_eq!(
            (shape, found),
            (
                vec![2, 2],
                ["0.7:1:spam", "0.2:2", "6.5:2", "5:0:ham"]
                    .map(str::to_owned)
                    .to_vec()
            )
        );
    }

    #[test]
    fn gives_no_more_than_there_are() {
        let none = Classes::ByPlace(Vec::new());
        assert_eq!(
            texts(&[2], &[1.0, 2.0], usize::MAX, &none),
            (vec![2], vec!["2:1".to_owned(), "1:0".to_owned()])
        );
        assert_eq!(texts(&[0, 4], &[], 3, &none), (vec![0, 0], vec![]));
        assert_eq!(texts(&[2, 0], &[], 3, &none), (vec![2, 0], vec![]));
    }

    #[test]
    fn texts_have_no_order() {
        let tensor = Tensor {
            element: Element::Text,
            shape: vec![0],
            data: Vec::new().into(),
        };
        assert!(greatest(&tensor, 1, &Classes::ByPlace(Vec::new())).is_err());
    }
}
