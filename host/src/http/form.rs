//! Forms (`multipart/form-data`, <https://www.rfc-editor.org/rfc/rfc7578>): read part by part as they come, files into the spool.
//!
//! What is left of a form is its parts, and a body in JSON in their place, so that plugins and dialects read one thing: a
//! plain field is its text, or its JSON where the part says that it is JSON; a file is `{"part", "filename", "content_type",
//! "size"}`; a name that came more than once is a list, and so is one of `uploads.lists`. Next: `feed`, how the parser is given
//! the bytes.

mod feed;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use hyper::body::Body;
use multer::{Field, Multipart};
use selvedge_plugin::value::Part;
use selvedge_plugin::{Spool, SpoolError, Spooled};
use serde_json::{Map, Value, json};

use self::feed::Feed;
use super::body::Coming;
use crate::config::Uploads;
use crate::pipeline::{ClientFault, HostFault, RequestError};

/// Bytes of a boundary at most: <https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1>. The parser looks for it in every chunk.
const BOUNDARY_LEN_MAX: usize = 70;

/// What a form is read within.
pub struct Bounds<'a> {
    /// Whose files they are.
    pub caller: Arc<str>,
    /// The endpoint's.
    pub uploads: &'a Uploads,
    /// Bytes of all plain fields together, and of the form's JSON.
    pub text_len_max: usize,
    /// For the whole form.
    pub time_max: Duration,
}

/// A form that is here.
#[derive(Debug)]
pub struct Form {
    /// In JSON.
    pub body: Bytes,
    /// In the order in which they came.
    pub parts: Arc<[Part]>,
}

/// Reads a form.
///
/// # Errors
///
/// Where the body is no form, or one that breaks off, is beyond a bound, or has a part that is not as it must be; where there is
/// no room for its files.
pub async fn read(
    headers: &HeaderMap,
    body: &mut Coming,
    spool: &Spool,
    bounds: &Bounds<'_>,
) -> Result<Form, RequestError> {
    let boundary = boundary(headers)?;
    let size_max = bounds.uploads.size_max.0;
    if body.size_hint().lower() > size_max as u64 {
        return Err(too_large("a form has", size_max, "uploads.size_max").into());
    }
    let read = async |body: &mut Coming| {
        let mut reader = Reader::new(body, boundary, spool, bounds);
        reader.read_parts().await?;
        reader.finish()
    };
    body.within(bounds.time_max, read).await
}

/// Whether a request says that it brings a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
    essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data"))
}

fn boundary(headers: &HeaderMap) -> Result<String, ClientFault> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(value.unwrap_or_default()).ok();
    match boundary {
        Some(boundary) if boundary.len() > BOUNDARY_LEN_MAX => Err(broken(format!(
            "its `boundary` is longer than {BOUNDARY_LEN_MAX} bytes"
        ))),
        Some(boundary) if !boundary.is_empty() => Ok(boundary),
        _ => Err(broken("its content type names no `boundary`")),
    }
}

fn broken(why: impl Into<String>) -> ClientFault {
    ClientFault::BadForm(why.into())
}

fn too_large(what: &str, max: usize, key: &str) -> ClientFault {
    ClientFault::FormTooLarge(format!("{what} at most {max} bytes (`{key}`)"))
}

/// A form while it is read.
struct Reader<'a> {
    multipart: Multipart<'a>,
    /// Bytes that came since the last that was part of some content.
    head_len: Arc<AtomicUsize>,
    spool: &'a Spool,
    bounds: &'a Bounds<'a>,
    parts: Vec<Part>,
    /// All that came under each name, in a list.
    fields: Map<String, Value>,
    text_len: usize,
}

impl<'a> Reader<'a> {
    fn new(body: &'a mut Coming, boundary: String, spool: &'a Spool, bounds: &'a Bounds<'a>) -> Self {
        let head_len = Arc::new(AtomicUsize::new(0));
        let feed = Feed::new(body, bounds.uploads.size_max.0, Arc::clone(&head_len));
        Self {
            multipart: Multipart::new(feed, boundary),
            head_len,
            spool,
            bounds,
            parts: Vec::new(),
            fields: Map::new(),
            text_len: 0,
        }
    }

    async fn read_parts(&mut self) -> Result<(), RequestError> {
        let parts_max = self.bounds.uploads.parts_max;
        let mut count = 0;
        while let Some(field) = self.multipart.next_field().await.map_err(fault)? {
            // Some of its content came along.
            self.head_len.store(0, Ordering::Relaxed);
            count += 1;
            if count > parts_max {
                let why = format!("a form has at most {parts_max} parts (`uploads.parts_max`)");
                return Err(ClientFault::FormTooLarge(why).into());
            }
            self.read_part(field).await?;
        }
        Ok(())
    }

    async fn read_part(&mut self, field: Field<'a>) -> Result<(), RequestError> {
        check_head(&field)?;
        let Some(name) = field.name().filter(|name| !name.is_empty()).map(str::to_owned) else {
            return Err(broken(format!("its part {} has no name", field.index())).into());
        };
        let is_file = self.bounds.uploads.files.contains(&name);
        let file_name = field.file_name().map(str::to_owned);
        match (is_file, file_name) {
            (true, Some(file_name)) => self.read_file(name, &file_name, field).await,
            (false, None) => self.read_text(name, field).await,
            // Browsers cannot send a part of JSON but as a file, which has this name.
            (false, Some(file_name)) if file_name == "blob" && is_json(media_type(&field).as_deref()) => {
                self.read_text(name, field).await
            }
            (true, None) => Err(bad("file_type", &name, "Input should be a file".to_owned()).into()),
            (false, Some(_)) => {
                let files = self.bounds.uploads.files.join("`, `");
                let message = format!("Input should be text; files may come as `{files}`");
                Err(bad("string_type", &name, message).into())
            }
        }
    }

    async fn read_file(
        &mut self,
        name: String,
        file_name: &str,
        field: Field<'a>,
    ) -> Result<(), RequestError> {
        let media_type = media_type(&field);
        let max = self.bounds.uploads.file_size_max.0;
        let content = self.spool(field, max).await?.ok_or_else(|| {
            let what = format!("the file `{name}` may have");
            too_large(&what, max, "uploads.file_size_max")
        })?;
        // What browsers send where nobody chose a file.
        if file_name.is_empty() && content.is_empty() {
            return Ok(());
        }
        let file_name = last_component(&name, file_name)?;
        let described = json!({
            "part": self.parts.len(),
            "filename": file_name,
            "content_type": media_type,
            "size": content.len(),
        });
        self.parts.push(Part {
            name: name.clone(),
            file_name: Some(file_name.to_owned()),
            media_type,
            content,
        });
        self.add(name, vec![described]);
        Ok(())
    }

    async fn read_text(&mut self, name: String, field: Field<'a>) -> Result<(), RequestError> {
        let media_type = media_type(&field);
        let (max, before) = (self.bounds.text_len_max, self.text_len);
        let content = self.spool(field, max.saturating_sub(before)).await?;
        let content = content.ok_or_else(|| {
            too_large(
                "the plain fields of a form have together",
                max,
                "server.body_size_max",
            )
        })?;
        // It is within a bound that is a `usize`.
        let len = content.len() as usize;
        self.text_len += len;
        let text = content.read(0, len).await.map_err(SpoolError::from);
        let value = text_value(&name, media_type.as_deref(), &text.map_err(unspooled)?)?;
        self.parts.push(Part {
            name: name.clone(),
            file_name: None,
            media_type,
            content,
        });
        let values = match value {
            // All of a list in one part.
            Value::Array(items) if self.bounds.uploads.lists.contains(&name) => items,
            value => vec![value],
        };
        self.add(name, values);
        Ok(())
    }

    /// A part's content; none where it is longer than `len_max`.
    async fn spool(&self, mut field: Field<'a>, len_max: usize) -> Result<Option<Spooled>, RequestError> {
        let mut writer = self.spool.writer(&self.bounds.caller);
        while let Some(bytes) = self.chunk(&mut field).await? {
            if writer.len() + bytes.len() as u64 > len_max as u64 {
                return Ok(None);
            }
            writer.write(&bytes).await.map_err(unspooled)?;
        }
        Ok(Some(writer.finish().await.map_err(unspooled)?))
    }

    /// The next bytes of a part; none at its end.
    async fn chunk(&self, field: &mut Field<'a>) -> Result<Option<Bytes>, RequestError> {
        let chunk = field.chunk().await.map_err(fault)?;
        self.head_len.store(0, Ordering::Relaxed);
        Ok(chunk)
    }

    fn add(&mut self, name: String, more: Vec<Value>) {
        if let Value::Array(values) = self.fields.entry(name).or_insert_with(|| json!([])) {
            values.extend(more);
        }
    }

    fn finish(self) -> Result<Form, RequestError> {
        let lists = &self.bounds.uploads.lists;
        let alone = |(name, value): (String, Value)| match value {
            Value::Array(mut values) if values.len() == 1 && !lists.contains(&name) => {
                (name, values.remove(0))
            }
            values => (name, values),
        };
        let fields = self.fields.into_iter().map(alone);
        let fields: Map<String, Value> = fields.collect();
        // Keys are strings, and nothing in it fails to serialise.
        let body = serde_json::to_vec(&fields).unwrap_or_default();
        // Names and what is escaped add to the fields.
        let max = self.bounds.text_len_max;
        if body.len() > max {
            return Err(too_large("a form in JSON has", max, "server.body_size_max").into());
        }
        Ok(Form {
            body: body.into(),
            parts: self.parts.into(),
        })
    }
}

/// Names are UTF-8, as browsers send them (<https://www.rfc-editor.org/rfc/rfc7578#section-5.1>). The parser takes others for none.
fn check_head(field: &Field<'_>) -> Result<(), ClientFault> {
    let disposition = field.headers().get(CONTENT_DISPOSITION);
    let is_text = disposition.is_none_or(|value| std::str::from_utf8(value.as_bytes()).is_ok());
    if is_text {
        return Ok(());
    }
    Err(broken(format!(
        "a name in the head of its part {} is not UTF-8",
        field.index()
    )))
}

fn media_type(field: &Field<'_>) -> Option<String> {
    let media_type = field.content_type()?;
    Some(media_type.essence_str().to_ascii_lowercase())
}

fn is_json(media_type: Option<&str>) -> bool {
    media_type == Some("application/json")
}

/// What a plain field is in the form's JSON.
fn text_value(name: &str, media_type: Option<&str>, text: &[u8]) -> Result<Value, ClientFault> {
    if is_json(media_type) {
        let value = serde_json::from_slice(text);
        return value.map_err(|error| {
            bad(
                "json_invalid",
                name,
                format!("Input should be valid JSON: {error}"),
            )
        });
    }
    let text = std::str::from_utf8(text);
    let text = text.map_err(|_| bad("string_unicode", name, "Input should be text in UTF-8".to_owned()));
    text.map(|text| text.into())
}

fn bad(kind: &'static str, param: &str, message: String) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message,
    }
}

/// A file's name without the folders that some clients put before it: they are the client's own affair, and dangerous to whoever
/// believes them.
fn last_component<'a>(field: &str, file_name: &'a str) -> Result<&'a str, ClientFault> {
    let last = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    if matches!(last, "" | "." | "..") || last.contains(char::is_control) {
        let message = "The name of the file should be one, without control characters";
        return Err(bad("file_name", field, message.to_owned()));
    }
    Ok(last)
}

fn unspooled(error: SpoolError) -> RequestError {
    match error {
        SpoolError::Full(max) => HostFault::SpoolFull(max).into(),
        SpoolError::CallerFull(max) => ClientFault::TooManyUploads(max).into(),
        SpoolError::File(error) => HostFault::Unspooled(error.to_string()).into(),
    }
}

/// What the parser found wrong; what came of ours is passed on.
fn fault(error: multer::Error) -> RequestError {
    let why = match error {
        multer::Error::StreamReadFailed(error) => {
            return match error.downcast::<ClientFault>() {
                Ok(fault) => (*fault).into(),
                Err(error) => broken(error.to_string()).into(),
            };
        }
        multer::Error::IncompleteFieldData {
            field_name: Some(name),
        } => format!("its part `{name}` has no end"),
        multer::Error::IncompleteFieldData { field_name: None } | multer::Error::IncompleteStream => {
            "it ends before its last boundary".to_owned()
        }
        error => format!("a part's head is not as it must be: {error}"),
    };
    broken(why).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::CONTENT_TYPE;

    use super::{is_form, last_component};

    #[test]
    fn a_name_loses_its_folders() {
        for (given, kept) in [
            ("a.png", "a.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\fakepath\\ä b.txt", "ä b.txt"),
            ("/.hidden", ".hidden"),
        ] {
            assert_eq!(last_component("file", given), Ok(kept), "{given}");
        }
        for none in ["", "..", "a/", "a/..", "\\", "a\nb", "a\0b"] {
            assert!(last_component("file", none).is_err(), "{none:?}");
        }
    }

    #[test]
    fn a_form_is_known_by_its_media_type() {
        let is = |value: &str| {
            let value = value.parse().expect("a value");
            is_form(&HeaderMap::from_iter([(CONTENT_TYPE, value)]))
        };
        assert!(is("multipart/form-data; boundary=x") && is("Multipart/Form-Data ;boundary=x"));
        assert!(
            !is("multipart/mixed; boundary=x") && !is("application/json") && !is("multipart/form-database")
        );
    }
}
