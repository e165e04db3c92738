//! A proxy that does what it is told to, and answers with the statuses it is told to.
#![expect(unused_mut, reason = "not every function that is offered needs it")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use wasmtime::error::Context as _;
use wasmtime::{Caller, Engine, Instance, InstancePre, Linker, Memory, Module, Store, ensure};

/// Everything that the filter may import of a proxy.
pub const FUNCTIONS: [&str; 21] = [
    "proxy_call_foreign_function",
    "proxy_close_stream",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_property",
    "proxy_grpc_call",
    "proxy_grpc_cancel",
    "proxy_grpc_send",
    "proxy_grpc_stream",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_property",
    "proxy_set_tick_period_milliseconds",
];

/// A map of headers.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A call to a service, or a stream.
#[derive(Debug, Clone)]
pub struct Called {
    pub token: u32,
    pub target: Vec<u8>,
    pub method: String,
    pub message: Vec<u8>,
}

/// An answer that the filter gave by itself.
#[derive(Debug, Clone)]
pub struct Replied {
    pub status: u32,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub grpc: i32,
}

/// What the proxy holds and what was done to it.
#[derive(Debug, Default)]
pub struct Proxy {
    /// Statuses that functions give instead of doing anything.
    pub faults: HashMap<&'static str, u32>,
    /// Maps by number.
    pub maps: HashMap<u32, Headers>,
    pub buffer: Vec<u8>,
    pub time_ns: u64,
    pub monotonic_ns: u64,
    pub properties: HashMap<String, Vec<u8>>,
    /// What was kept as filter state.
    pub kept: HashMap<String, Vec<u8>>,
    pub calls: Vec<Called>,
    pub streams: Vec<Called>,
    pub sent: Vec<Vec<u8>>,
    pub cancelled: Vec<u32>,
    pub replies: Vec<Replied>,
    pub continued: usize,
    pub closed: Vec<u32>,
    pub metrics: Vec<String>,
    pub counted: HashMap<String, i64>,
    /// Contexts that are not known any more.
    pub gone: Vec<u32>,
    /// Bytes to give for a map instead of the map.
    pub odd_map: Option<Vec<u8>>,
    pub tokens: u32,
}

impl Proxy {
    /// The statuses it was told to answer with.
    pub fn statuses(&self) -> Vec<u32> {
        self.replies.iter().map(|reply| reply.status).collect()
    }

    fn token(&mut self) -> u32 {
        self.tokens += 1;
        self.tokens
    }
}

fn memory(caller: &mut Caller<'_, Proxy>) -> Memory {
    caller
        .get_export("memory")
        .and_then(wasmtime::Extern::into_memory)
        .unwrap()
}

fn read(caller: &mut Caller<'_, Proxy>, data: u32, size: u32) -> Vec<u8> {
    let memory = memory(caller);
    let start = data as usize;
    memory.data(&mut *caller)[start..start + size as usize].to_vec()
}

fn text(caller: &mut Caller<'_, Proxy>, data: u32, size: u32) -> String {
    String::from_utf8(read(caller, data, size)).unwrap()
}

fn put(caller: &mut Caller<'_, Proxy>, at: u32, bytes: &[u8]) {
    let memory = memory(caller);
    memory.write(&mut *caller, at as usize, bytes).unwrap();
}

/// Hands bytes to the filter, in memory that it is asked for.
fn give(caller: &mut Caller<'_, Proxy>, bytes: &[u8], data: u32, size: u32) {
    let allocate = caller
        .get_export("proxy_on_memory_allocate")
        .unwrap()
        .into_func()
        .unwrap();
    let allocate = allocate.typed::<u32, u32>(&mut *caller).unwrap();
    let length = u32::try_from(bytes.len()).unwrap();
    let at = allocate.call(&mut *caller, length).unwrap();
    put(caller, at, bytes);
    put(caller, data, &at.to_le_bytes());
    put(caller, size, &length.to_le_bytes());
}

/// Whether the function is told to fail.
fn fault(caller: &Caller<'_, Proxy>, name: &str) -> Option<u32> {
    caller.data().faults.get(name).copied()
}

/// A map as it goes over the border.
pub fn encode(map: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut bytes = u32::try_from(map.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in map {
        bytes.extend([length(name), length(value)].concat());
    }
    for (name, value) in map {
        bytes.extend([name, [0].as_slice(), value, &[0]].concat());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Headers {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let count = number(0);
    let mut at = 4 + count * 8;
    let mut part = |length: usize| {
        let part = bytes[at..at + length].to_vec();
        assert_eq!(bytes[at + length], 0);
        at += length + 1;
        part
    };
    (0..count)
        .map(|index| (part(number(4 + index * 8)), part(number(8 + index * 8))))
        .collect()
}

macro_rules! offer {
    ($linker:ident, $name:literal, |$caller:ident $(, $argument:ident: $kind:ty)*| $body:expr) => {
        $linker.func_wrap("env", $name, |mut $caller: Caller<'_, Proxy> $(, $argument: $kind)*| -> u32 {
            match fault(&$caller, $name) {
                Some(status) => status,
                None => {
                    let status: u32 = $body;
                    status
                }
            }
        })?;
    };
}

fn offer_values(linker: &mut Linker<Proxy>) -> wasmtime::Result<()> {
    offer!(
        linker,
        "proxy_log",
        |caller, _level: u32, data: u32, size: u32| {
            let _message = text(&mut caller, data, size);
            0
        }
    );
    offer!(
        linker,
        "proxy_get_current_time_nanoseconds",
        |caller, at: u32| {
            let time = caller.data().time_ns;
            put(&mut caller, at, &time.to_le_bytes());
            0
        }
    );
    offer!(
        linker,
        "proxy_set_tick_period_milliseconds",
        |_caller, _period: u32| 0
    );
    offer!(
        linker,
        "proxy_get_buffer_bytes",
        |caller, _kind: u32, _start: u32, _most: u32, data: u32, size: u32| {
            let bytes = caller.data().buffer.clone();
            // As Envoy does: of an empty buffer nothing is given.
            if !bytes.is_empty() {
                give(&mut caller, &bytes, data, size);
            }
            0
        }
    );
    offer!(
        linker,
        "proxy_get_property",
        |caller, path: u32, path_size: u32, data: u32, size: u32| {
            let path = text(&mut caller, path, path_size).replace('\0', ".");
            match caller.data().properties.get(&path).cloned() {
                Some(value) => {
                    give(&mut caller, &value, data, size);
                    0
                }
                None => 1,
            }
        }
    );
    offer!(
        linker,
        "proxy_set_property",
        |caller, path: u32, path_size: u32, value: u32, value_size: u32| {
            let (path, value) = (
                text(&mut caller, path, path_size),
                read(&mut caller, value, value_size),
            );
            caller.data_mut().kept.insert(path, value);
            0
        }
    );
    offer!(
        linker,
        "proxy_call_foreign_function",
        |_caller,
         _name: u32,
         _name_size: u32,
         _arguments: u32,
         _arguments_size: u32,
         _data: u32,
         _size: u32| 1
    );
    offer!(
        linker,
        "proxy_define_metric",
        |caller, _kind: u32, name: u32, size: u32, at: u32| {
            let name = text(&mut caller, name, size);
            caller.data_mut().metrics.push(name);
            let id = u32::try_from(caller.data().metrics.len() - 1).unwrap();
            put(&mut caller, at, &id.to_le_bytes());
            0
        }
    );
    offer!(
        linker,
        "proxy_increment_metric",
        |caller, id: u32, by: i64| {
            let name = caller.data().metrics[id as usize].clone();
            *caller.data_mut().counted.entry(name).or_default() += by;
            0
        }
    );
    offer!(
        linker,
        "proxy_record_metric",
        |_caller, _id: u32, _value: u64| 0
    );
    offer!(
        linker,
        "proxy_set_effective_context",
        |caller, context: u32| {
            if caller.data().gone.contains(&context) {
                2
            } else {
                0
            }
        }
    );
    Ok(())
}

fn offer_exchange(linker: &mut Linker<Proxy>) -> wasmtime::Result<()> {
    offer!(
        linker,
        "proxy_get_header_map_pairs",
        |caller, map: u32, data: u32, size: u32| {
            let map = caller.data().maps.get(&map).cloned().unwrap_or_default();
            let bytes = caller
                .data()
                .odd_map
                .clone()
                .unwrap_or_else(|| encode(&map));
            give(&mut caller, &bytes, data, size);
            0
        }
    );
    offer!(
        linker,
        "proxy_replace_header_map_value",
        |caller, map: u32, key: u32, key_size: u32, value: u32, value_size: u32| {
            let (key, value) = (
                read(&mut caller, key, key_size),
                read(&mut caller, value, value_size),
            );
            let map = caller.data_mut().maps.entry(map).or_default();
            map.retain(|(name, _)| *name != key);
            map.push((key, value));
            0
        }
    );
    offer!(
        linker,
        "proxy_remove_header_map_value",
        |caller, map: u32, key: u32, key_size: u32| {
            let key = read(&mut caller, key, key_size);
            caller
                .data_mut()
                .maps
                .entry(map)
                .or_default()
                .retain(|(name, _)| *name != key);
            0
        }
    );
    offer!(
        linker,
        "proxy_continue_stream",
        |caller, _direction: u32| {
            caller.data_mut().continued += 1;
            0
        }
    );
    offer!(linker, "proxy_close_stream", |caller, direction: u32| {
        caller.data_mut().closed.push(direction);
        0
    });
    offer!(
        linker,
        "proxy_send_local_response",
        |caller,
         status: u32,
         _details: u32,
         _details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         grpc: i32| {
            let reply = Replied {
                status,
                headers: decode(&read(&mut caller, headers, headers_size)),
                body: read(&mut caller, body, body_size),
                grpc,
            };
            caller.data_mut().replies.push(reply);
            0
        }
    );
    Ok(())
}

fn offer_grpc(linker: &mut Linker<Proxy>) -> wasmtime::Result<()> {
    offer!(
        linker,
        "proxy_grpc_call",
        |caller,
         target: u32,
         target_size: u32,
         _service: u32,
         _service_size: u32,
         method: u32,
         method_size: u32,
         metadata: u32,
         metadata_size: u32,
         message: u32,
         message_size: u32,
         _timeout: u32,
         at: u32| {
            let _metadata = decode(&read(&mut caller, metadata, metadata_size));
            let called = Called {
                token: caller.data_mut().token(),
                target: read(&mut caller, target, target_size),
                method: text(&mut caller, method, method_size),
                message: read(&mut caller, message, message_size),
            };
            put(&mut caller, at, &called.token.to_le_bytes());
            caller.data_mut().calls.push(called);
            0
        }
    );
    offer!(
        linker,
        "proxy_grpc_stream",
        |caller,
         target: u32,
         target_size: u32,
         _service: u32,
         _service_size: u32,
         method: u32,
         method_size: u32,
         _metadata: u32,
         _metadata_size: u32,
         at: u32| {
            let called = Called {
                token: caller.data_mut().token(),
                target: read(&mut caller, target, target_size),
                method: text(&mut caller, method, method_size),
                message: Vec::new(),
            };
            put(&mut caller, at, &called.token.to_le_bytes());
            caller.data_mut().streams.push(called);
            0
        }
    );
    offer!(
        linker,
        "proxy_grpc_send",
        |caller, _token: u32, message: u32, size: u32, _end: u32| {
            let message = read(&mut caller, message, size);
            caller.data_mut().sent.push(message);
            0
        }
    );
    offer!(linker, "proxy_grpc_cancel", |caller, token: u32| {
        caller.data_mut().cancelled.push(token);
        0
    });
    Ok(())
}

/// What the standard library takes for a system: a clock, random bytes that are none, and nothing else.
fn offer_system(linker: &mut Linker<Proxy>) -> wasmtime::Result<()> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(
        WASI,
        "clock_time_get",
        |mut caller: Caller<'_, Proxy>, _clock: u32, _precision: u64, at: u32| -> i32 {
            let time = caller.data().monotonic_ns;
            put(&mut caller, at, &time.to_le_bytes());
            0
        },
    )?;
    linker.func_wrap(
        WASI,
        "random_get",
        |mut caller: Caller<'_, Proxy>, data: u32, size: u32| -> i32 {
            put(&mut caller, data, &vec![7; size as usize]);
            0
        },
    )?;
    linker.func_wrap(WASI, "environ_get", |_: i32, _: i32| -> i32 { 0 })?;
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |mut caller: Caller<'_, Proxy>, count: u32, size: u32| -> i32 {
            put(&mut caller, count, &[0; 4]);
            put(&mut caller, size, &[0; 4]);
            0
        },
    )?;
    linker.func_wrap(WASI, "fd_write", |_: i32, _: i32, _: i32, _: i32| -> i32 {
        8
    })?;
    linker.func_wrap(WASI, "proc_exit", |_: i32| {})?;
    Ok(())
}

/// Builds the module, in a target folder of its own, since cargo holds ours while tests are built.
fn build() -> wasmtime::Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filter-wasm");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--profile", "wasm"])
        .args([
            "--package",
            "filter-wasm",
            "--target",
            "wasm32-wasip1",
            "--target-dir",
        ])
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("starting cargo")?;
    ensure!(
        status.success(),
        "building the filter failed; is the target wasm32-wasip1 installed?"
    );
    Ok(target.join("wasm32-wasip1/wasm/filter_wasm.wasm"))
}

/// The module, compiled once.
fn module() -> &'static (Engine, InstancePre<Proxy>) {
    static MODULE: OnceLock<(Engine, InstancePre<Proxy>)> = OnceLock::new();
    MODULE.get_or_init(|| load().unwrap())
}

fn load() -> wasmtime::Result<(Engine, InstancePre<Proxy>)> {
    let engine = Engine::default();
    let module = Module::from_file(&engine, build()?)?;
    let mut linker = Linker::new(&engine);
    offer_values(&mut linker)?;
    offer_exchange(&mut linker)?;
    offer_grpc(&mut linker)?;
    offer_system(&mut linker)?;
    for import in module.imports().filter(|import| import.module() == "env") {
        ensure!(
            FUNCTIONS.contains(&import.name()),
            "`{}` is not tried",
            import.name()
        );
    }
    let ready = linker.instantiate_pre(&module)?;
    Ok((engine, ready))
}

/// A VM of a proxy.
pub struct Vm {
    pub store: Store<Proxy>,
    instance: Instance,
}

/// The root context.
pub const ROOT: u32 = 1;

impl Vm {
    /// A VM in which nothing was called.
    pub fn new(proxy: Proxy) -> Self {
        let (engine, ready) = module();
        let mut store = Store::new(engine, proxy);
        let instance = ready.instantiate(&mut store).unwrap();
        Self { store, instance }
    }

    pub fn proxy(&mut self) -> &mut Proxy {
        self.store.data_mut()
    }

    /// Calls the filter. A trap is an error.
    pub fn call(&mut self, name: &str, arguments: &[u32]) -> wasmtime::Result<u32> {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let results = function.ty(&self.store).results().len();
        let arguments: Vec<wasmtime::Val> = arguments
            .iter()
            .map(|argument| wasmtime::Val::I32(argument.cast_signed()))
            .collect();
        let mut given = vec![wasmtime::Val::I32(0); results];
        function
            .call(&mut self.store, &arguments, &mut given)
            .with_context(|| format!("calling {name}"))?;
        Ok(given
            .first()
            .map_or(0, |value| value.unwrap_i32().cast_unsigned()))
    }
}
