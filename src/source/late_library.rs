//! Libraries of the system that are loaded when they are needed, and not when the program starts.
//!
//! A crate that binds such a library declares its functions and leaves it to the linker to find them. The macro
//! defines them here: each hands its call on to the library. So an agent in which one connection of many needs
//! the library starts without it, and one that is missing is told by name and with a remedy.
//!
//! A function that the crate should call one day and that is not defined is found by the linker in the library,
//! which then has to be there when the program starts; tests look at what the program needs to start.

/// Defines `load`, which loads the first of the libraries that is there (an error names each and its reason), and
/// the functions. A call without the library gives the `failure`.
macro_rules! late_library {
    (
        libraries: $libraries:expr; returns: $returned:ty; failure: $failure:expr;
        $($name:ident($($argument:ident: $type:ty),* $(,)?);)*
    ) => {
        /// The functions of the library.
        struct Functions {
            $($name: unsafe extern "C" fn($($type),*) -> $returned,)*
            /// Keeps the functions where they are.
            _library: libloading::Library,
        }

        impl Functions {
            #[expect(unsafe_code, reason = "a library is loaded, and its functions are taken by their names")]
            fn open(name: &str) -> Result<Self, libloading::Error> {
                // SAFETY: what the library does when it is loaded is what it would do at the start of the program;
                // the types are those of its headers, and the pointers are kept no longer than the library.
                unsafe {
                    let library = libloading::Library::new(name)?;
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        _library: library,
                    })
                }
            }
        }

        fn functions() -> &'static Result<Functions, String> {
            static FUNCTIONS: std::sync::OnceLock<Result<Functions, String>> = std::sync::OnceLock::new();
            FUNCTIONS.get_or_init(|| {
                let mut causes = Vec::new();
                for name in $libraries {
                    match Functions::open(name) {
                        Ok(functions) => return Ok(functions),
                        Err(error) => causes.push(error.to_string()),
                    }
                }
                Err(causes.join("; "))
            })
        }

        $(
            /// Hands the call on.
            ///
            /// # Safety
            ///
            /// As for the function of this name in the library.
            #[expect(unsafe_code, reason = "the crate that binds the library expects a function of this name")]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> $returned {
                match functions() {
                    // SAFETY: what the caller promises is what the function asks for.
                    Ok(functions) => unsafe { (functions.$name)($($argument),*) },
                    Err(_) => $failure,
                }
            }
        )*
    };
}

pub(super) use late_library;
