//! What plugins call: the request and its uploads, logging, metrics, tensors. What is granted is in `granted`.

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTableError};

use super::RequestHandle;
use super::bindings::selvedge::plugin::tensors::{ElementType, TensorError};
use super::bindings::selvedge::plugin::{logging, metrics, tensors, types, uploads, vocabulary};
use super::{convert, granted};
use crate::error::Fault;
use crate::log::Level;
use crate::state::{Phase, State};
use crate::value::{Part, Request, Tensor};

type Result<T> = wasmtime::Result<T>;

/// Defines all of it in a linker.
///
/// # Errors
///
/// Where a definition is there already.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    logging::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    metrics::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    uploads::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    let mut experimental = vocabulary::LinkOptions::default();
    experimental.decode(true);
    vocabulary::add_to_linker::<_, HasSelf<State>>(linker, &experimental, |state| state)?;
    granted::add_to_linker(linker)?;
    tensors::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl State {
    /// The store's request. A plugin cannot hold a handle on one where there is none.
    fn served(&self) -> Result<&Request> {
        self.request
            .as_deref()
            .ok_or_else(|| wasmtime::Error::msg("there is no request in this phase"))
    }
}

impl types::Host for State {}

impl types::HostRequest for State {
    fn id(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        Ok(self.served()?.id.clone())
    }

    fn endpoint(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        Ok(self.served()?.endpoint.as_ref().to_owned())
    }

    fn dialect(&mut self, _: Resource<RequestHandle>) -> Result<String> {
        Ok(self.served()?.dialect.to_owned())
    }

    fn principal(&mut self, _: Resource<RequestHandle>) -> Result<Option<String>> {
        Ok(self.served()?.principal.clone())
    }

    fn header(&mut self, _: Resource<RequestHandle>, name: String) -> Result<Vec<Vec<u8>>> {
        let name = name.to_ascii_lowercase();
        if !self.identity.headers.contains(&name) {
            return Ok(Vec::new());
        }
        let headers = self.served()?.headers.iter();
        let values: Vec<_> = headers
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value.to_vec())
            .collect();
        self.usage.hand(values.iter().map(Vec::len).sum());
        Ok(values)
    }

    fn body_len(&mut self, _: Resource<RequestHandle>) -> Result<u64> {
        Ok(self.served()?.body.len() as u64)
    }

    fn read_body(&mut self, _: Resource<RequestHandle>, offset: u64, len: u32) -> Result<Vec<u8>> {
        let read = slice(&self.served()?.body, offset, len).to_vec();
        self.usage.hand(read.len());
        Ok(read)
    }

    fn body_text(&mut self, _: Resource<RequestHandle>) -> Result<Option<String>> {
        let text = std::str::from_utf8(&self.served()?.body).ok().map(str::to_owned);
        self.usage.hand(text.as_ref().map_or(0, String::len));
        Ok(text)
    }

    fn attribute(&mut self, _: Resource<RequestHandle>, key: String) -> Result<Option<String>> {
        let value = self.served()?.attributes.find(&key);
        self.usage.hand(value.as_ref().map_or(0, String::len));
        Ok(value)
    }

    fn set_attribute(&mut self, _: Resource<RequestHandle>, key: String, value: String) -> Result<()> {
        self.usage.bring(key.len() + value.len());
        self.served()?.attributes.set(&key, &value);
        Ok(())
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> Result<()> {
        Ok(())
    }
}

impl uploads::Host for State {
    fn parts(&mut self, _: Resource<RequestHandle>) -> Result<Vec<uploads::Part>> {
        let part = |part: &Part| uploads::Part {
            name: part.name.clone(),
            file_name: part.file_name.clone(),
            media_type: part.media_type.clone(),
            size: part.content.len(),
        };
        Ok(self.served()?.parts.iter().map(part).collect())
    }

    async fn read_part(
        &mut self,
        _: Resource<RequestHandle>,
        part: u32,
        offset: u64,
        len: u32,
    ) -> Result<std::result::Result<Vec<u8>, uploads::UploadError>> {
        let len = self.usage.readable(len).map_err(wasmtime::Error::new)?;
        let Some(part) = self.served()?.parts.get(part as usize) else {
            return Ok(Err(uploads::UploadError::NoSuchPart));
        };
        let read = part.content.read(offset, len).await.map(Vec::from);
        self.usage.hand(read.as_ref().map_or(0, Vec::len));
        Ok(read.map_err(|error| uploads::UploadError::Unavailable(error.to_string())))
    }
}

impl logging::Host for State {
    fn log(&mut self, level: logging::Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        let mut line = message;
        for (key, value) in fields {
            line.extend([" ", &key, "=", &value]);
        }
        self.usage.bring(line.len());
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
        };
        self.write_log(level, &line);
        Ok(())
    }
}

impl metrics::Host for State {
    fn counter_add(&mut self, name: String, value: u64) -> Result<()> {
        self.identity.count(&name, value);
        Ok(())
    }

    fn histogram_record(&mut self, name: String, value: f64) -> Result<()> {
        if self.usage.may_record() {
            self.identity.record(&name, value);
        }
        Ok(())
    }
}

impl tensors::Host for State {}

impl State {
    /// Puts a tensor into the table.
    ///
    /// # Errors
    ///
    /// A trap with [`Fault::Handles`] where the table is full. In `configure` there are no tensors: a handle would not
    /// survive the snapshot.
    pub(super) fn keep(
        &mut self,
        tensor: Tensor,
    ) -> Result<std::result::Result<Resource<Tensor>, TensorError>> {
        if self.phase == Phase::Configure {
            return Ok(Err(TensorError::Unsupported));
        }
        self.hold(tensor.data.len()).map_err(wasmtime::Error::new)?;
        match self.table.push(tensor) {
            Ok(handle) => Ok(Ok(handle)),
            Err(ResourceTableError::Full) => {
                Err(wasmtime::Error::new(Fault::Handles(self.identity.limits.handles)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make(
        &mut self,
        ty: ElementType,
        shape: Vec<u32>,
        data: Vec<u8>,
    ) -> Result<std::result::Result<Resource<Tensor>, TensorError>> {
        self.usage.bring(data.len());
        let tensor = Tensor {
            element: convert::element(ty),
            shape,
            data: Bytes::from(data),
        };
        match convert::check_shape(&tensor) {
            Ok(()) => self.keep(tensor),
            Err(message) => Ok(Err(TensorError::BadShape(message))),
        }
    }
}

impl tensors::HostTensor for State {
    fn from_bytes(
        &mut self,
        ty: ElementType,
        shape: Vec<u32>,
        data: Vec<u8>,
    ) -> Result<std::result::Result<Resource<Tensor>, TensorError>> {
        self.make(ty, shape, data)
    }

    fn from_f32(
        &mut self,
        shape: Vec<u32>,
        data: Vec<f32>,
    ) -> Result<std::result::Result<Resource<Tensor>, TensorError>> {
        self.make(
            ElementType::Float32,
            shape,
            data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    fn from_i64(
        &mut self,
        shape: Vec<u32>,
        data: Vec<i64>,
    ) -> Result<std::result::Result<Resource<Tensor>, TensorError>> {
        self.make(
            ElementType::Int64,
            shape,
            data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    fn shape(&mut self, tensor: Resource<Tensor>) -> Result<Vec<u32>> {
        Ok(self.table.get(&tensor)?.shape.clone())
    }

    fn ty(&mut self, tensor: Resource<Tensor>) -> Result<ElementType> {
        Ok(convert::element_type(self.table.get(&tensor)?.element))
    }

    fn read(
        &mut self,
        tensor: Resource<Tensor>,
        offset: u64,
        len: u32,
    ) -> Result<std::result::Result<Vec<u8>, TensorError>> {
        let read = slice(&self.table.get(&tensor)?.data, offset, len).to_vec();
        self.usage.hand(read.len());
        Ok(Ok(read))
    }

    fn read_f32(
        &mut self,
        tensor: Resource<Tensor>,
        offset: u64,
        len: u32,
    ) -> Result<std::result::Result<Vec<f32>, TensorError>> {
        let values = match convert::f32_values(self.table.get(&tensor)?) {
            Some(values) => values,
            None => return Ok(Err(TensorError::Unsupported)),
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let read: Vec<f32> = values.skip(skip).take(len as usize).collect();
        self.usage.hand(size_of_val(read.as_slice()));
        Ok(Ok(read))
    }

    fn top_k(
        &mut self,
        tensor: Resource<Tensor>,
        k: u32,
    ) -> Result<std::result::Result<Vec<Vec<(u32, f32)>>, TensorError>> {
        let tensor = self.table.get(&tensor)?;
        let rows = tensor.data.len() as u64 / 4 / u64::from(tensor.shape.last().copied().unwrap_or(1).max(1));
        let max = self.identity.limits.host_bytes as u64;
        // A row is a list of its own, and an entry an index and a value.
        if rows.saturating_mul(32 + 8 * u64::from(k)) > max {
            return Ok(Err(TensorError::TooLarge(max)));
        }
        let best = convert::top_k(tensor, k);
        self.usage
            .hand(best.iter().flatten().map(|row| 8 * row.len()).sum());
        Ok(best.ok_or(TensorError::Unsupported))
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> Result<()> {
        let tensor = self.table.delete(tensor)?;
        self.release(tensor.data.len());
        Ok(())
    }
}

/// At most `len` bytes from `offset`; shorter, or empty, at the end.
fn slice(bytes: &[u8], offset: u64, len: u32) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(len as usize).min(bytes.len());
    &bytes[start..end]
}
