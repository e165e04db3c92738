//! The border to the proxy: what it offers (ABI 0.2.1), and what it calls. The one file with unsafe code.
//!
//! Every call into the proxy gives a `Result` for every status, known or not, and every call from it ends in `abi`: the
//! usual SDK traps on a status that it does not know and on a token or context that it has forgotten, and a VM that traps
//! is one that refuses.
#![expect(unsafe_code, reason = "a border of another language")]

use std::alloc::Layout;
use std::ptr::{self, NonNull};
use std::time::Duration;

use crate::abi;

/// A status that is not OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

/// A map of headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    ResponseTrailers,
}

impl Map {
    const fn number(self) -> u32 {
        match self {
            Self::RequestHeaders => 0,
            Self::RequestTrailers => 1,
            Self::ResponseHeaders => 2,
            Self::ResponseTrailers => 3,
        }
    }
}

/// A buffer of the proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    GrpcReceived,
    PluginConfiguration,
}

impl Buffer {
    const fn number(self) -> u32 {
        match self {
            Self::GrpcReceived => 5,
            Self::PluginConfiguration => 7,
        }
    }
}

/// A direction of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

impl Direction {
    const fn number(self) -> u32 {
        match self {
            Self::Request => 0,
            Self::Response => 1,
        }
    }
}

/// How a message of the log is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    const fn number(self) -> u32 {
        match self {
            Self::Info => 2,
            Self::Warn => 3,
            Self::Error => 4,
        }
    }
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Counter => 0,
            Self::Gauge => 1,
            Self::Histogram => 2,
        }
    }
}

/// Where a call or a stream goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method<'a> {
    /// The message that names the service's cluster.
    pub(crate) target: &'a str,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        most: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_continue_stream(direction: u32) -> u32;
    fn proxy_close_stream(direction: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_grpc_call(
        target: *const u8,
        target_size: usize,
        service: *const u8,
        service_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        message: *const u8,
        message_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_grpc_stream(
        target: *const u8,
        target_size: usize,
        service: *const u8,
        service_size: usize,
        method: *const u8,
        method_size: usize,
        metadata: *const u8,
        metadata_size: usize,
        token: *mut u32,
    ) -> u32;
    fn proxy_grpc_send(token: u32, message: *const u8, message_size: usize, end: u32) -> u32;
    fn proxy_grpc_cancel(token: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> i32;
    fn random_get(data: *mut u8, size: usize) -> i32;
}

const fn checked(status: u32) -> Result<(), Status> {
    if status == 0 {
        Ok(())
    } else {
        Err(Status(status))
    }
}

/// Takes what the proxy put into memory that it asked for by `proxy_on_memory_allocate`.
fn taken(status: u32, data: *mut u8, size: usize) -> Result<Vec<u8>, Status> {
    checked(status)?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: with OK, `data` is what `proxy_on_memory_allocate` gave for exactly `size` bytes, which the proxy filled
    // and has given up.
    let taken = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(data, size)) };
    Ok(taken.into_vec())
}

/// Writes a message into the proxy's log. Where that fails there is no one left to tell.
pub(crate) fn log(level: Level, message: &str) {
    // SAFETY: pointer and size are of one text that outlives the call; so it is in all calls below.
    let _lost = unsafe { proxy_log(level.number(), message.as_ptr(), message.len()) };
}

/// The time of day, in nanoseconds since the Unix epoch.
pub(crate) fn time_of_day() -> Result<u64, Status> {
    let mut time = 0;
    // SAFETY: as above.
    checked(unsafe { proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time)
}

/// Time since an arbitrary start.
pub(crate) fn monotonic() -> Result<Duration, Status> {
    const MONOTONIC: u32 = 1;
    let mut time = 0;
    // SAFETY: as above.
    let status = unsafe { clock_time_get(MONOTONIC, 1, &raw mut time) };
    checked(status.unsigned_abs())?;
    Ok(Duration::from_nanos(time))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Status> {
    let mut bytes = [0; N];
    // SAFETY: as above.
    let status = unsafe { random_get(bytes.as_mut_ptr(), N) };
    checked(status.unsigned_abs())?;
    Ok(bytes)
}

/// Asks for a call every so often.
pub(crate) fn tick_every(period: Duration) -> Result<(), Status> {
    let period = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: as above.
    checked(unsafe { proxy_set_tick_period_milliseconds(period) })
}

/// At most `most` bytes of a buffer.
pub(crate) fn buffer(buffer: Buffer, most: usize) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as above.
    let status =
        unsafe { proxy_get_buffer_bytes(buffer.number(), 0, most, &raw mut data, &raw mut size) };
    taken(status, data, size)
}

/// All headers of a map, in order, as often as they occur: the bytes that `abi::pairs` reads.
pub(crate) fn map(map: Map) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as above.
    let status = unsafe { proxy_get_header_map_pairs(map.number(), &raw mut data, &raw mut size) };
    taken(status, data, size)
}

/// Sets a header, over all that it had.
pub(crate) fn replace(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe {
        proxy_replace_header_map_value(
            map.number(),
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes a header, as often as it occurs.
pub(crate) fn remove(map: Map, name: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_remove_header_map_value(map.number(), name.as_ptr(), name.len()) })
}

/// A property; none where the proxy has none, or none of this name.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as above.
    let status =
        unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
    taken(status, data, size).ok()
}

/// Keeps a property with the exchange, as filter state `wasm.NAME`.
pub(crate) fn keep(name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Lets an exchange go on.
pub(crate) fn go_on(direction: Direction) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_continue_stream(direction.number()) })
}

/// Cuts an exchange off.
pub(crate) fn cut(direction: Direction) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_close_stream(direction.number()) })
}

/// Answers an exchange; `grpc` is the status of gRPC where the caller speaks it.
pub(crate) fn respond(
    status: u32,
    headers: &[u8],
    body: &[u8],
    grpc: Option<u8>,
) -> Result<(), Status> {
    const DETAILS: &str = "caracal";
    let grpc = grpc.map_or(-1, i32::from);
    // SAFETY: as above.
    checked(unsafe {
        proxy_send_local_response(
            status,
            DETAILS.as_ptr(),
            DETAILS.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc,
        )
    })
}

/// Calls a method; the answer comes to the root context with this token.
pub(crate) fn call(
    to: Method<'_>,
    metadata: &[u8],
    message: &[u8],
    timeout: Duration,
) -> Result<u32, Status> {
    let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut token = 0;
    // SAFETY: as above.
    checked(unsafe {
        proxy_grpc_call(
            to.target.as_ptr(),
            to.target.len(),
            to.service.as_ptr(),
            to.service.len(),
            to.name.as_ptr(),
            to.name.len(),
            metadata.as_ptr(),
            metadata.len(),
            message.as_ptr(),
            message.len(),
            timeout,
            &raw mut token,
        )
    })?;
    Ok(token)
}

/// Opens a stream.
pub(crate) fn open(to: Method<'_>) -> Result<u32, Status> {
    let metadata = abi::map(std::iter::empty::<(&[u8], &[u8])>());
    let mut token = 0;
    // SAFETY: as above.
    checked(unsafe {
        proxy_grpc_stream(
            to.target.as_ptr(),
            to.target.len(),
            to.service.as_ptr(),
            to.service.len(),
            to.name.as_ptr(),
            to.name.len(),
            metadata.as_ptr(),
            metadata.len(),
            &raw mut token,
        )
    })?;
    Ok(token)
}

/// Sends a message on a stream.
pub(crate) fn send(token: u32, message: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_grpc_send(token, message.as_ptr(), message.len(), 0) })
}

/// Gives a call or a stream up: nothing comes of it any more.
pub(crate) fn give_up(token: u32) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_grpc_cancel(token) })
}

/// Makes the calls that follow be about this context, until this one returns.
pub(crate) fn be_about(context: u32) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_set_effective_context(context) })
}

/// Calls a function of the proxy's own.
pub(crate) fn foreign(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: as above.
    let status = unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            &raw mut data,
            &raw mut size,
        )
    };
    taken(status, data, size)
}

/// Defines a metric, or finds the one that has this name.
pub(crate) fn define(kind: Kind, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: as above.
    checked(unsafe { proxy_define_metric(kind.number(), name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Moves a counter or a gauge.
pub(crate) fn increment(id: u32, by: i64) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_increment_metric(id, by) })
}

/// Records a value.
pub(crate) fn record(id: u32, value: u64) -> Result<(), Status> {
    // SAFETY: as above.
    checked(unsafe { proxy_record_metric(id, value) })
}

// === What the proxy calls ===
//
// SAFETY of every attribute below: the names are those of the ABI, and nothing else here has them.

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the proxy calls this once, before anything else.
    unsafe { __wasm_call_ctors() }
}

/// Memory that the proxy fills and hands back to `taken`.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        Ok(layout) if size > 0 => {
            // SAFETY: the layout is not of size zero. A null pointer tells the proxy that there is no memory.
            unsafe { std::alloc::alloc(layout) }
        }
        Ok(_) => NonNull::dangling().as_ptr(),
        Err(_) => ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    abi::created(context, parent);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_context: u32, _size: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(context: u32, size: usize) -> u32 {
    u32::from(abi::configured(context, size))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(context: u32) {
    abi::ticked(context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _headers: u32, _end: u32) -> u32 {
    abi::request_headers(context).number()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _trailers: u32) -> u32 {
    abi::strip(context, Map::RequestTrailers).number()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _headers: u32, _end: u32) -> u32 {
    abi::strip(context, Map::ResponseHeaders).number()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(context: u32, _trailers: u32) -> u32 {
    abi::strip(context, Map::ResponseTrailers).number()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(context: u32, token: u32, size: usize) {
    abi::received(context, token, size);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(context: u32, token: u32, _status: u32) {
    abi::closed(context, token);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    abi::ended(context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> u32 {
    abi::ended(context);
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    abi::deleted(context);
}
