//! The character set that drivers find in the locale of the process.

/// Gives the process the character set UTF-8 where nobody has chosen a locale, as for a service. Drivers turn narrow
/// texts (`text = "utf8"`) into that of the locale: without one psqlODBC fails at the first letter that is not ASCII.
///
/// Has to be called before there is a second thread.
pub(crate) fn use_utf8_by_default() {
    const CHOICES: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];
    let is_chosen = |name: &&str| std::env::var_os(name).is_some_and(|locale| !locale.is_empty());
    if !CHOICES.iter().any(is_chosen) {
        #[expect(unsafe_code, reason = "drivers look for the locale in the environment and nowhere else")]
        // SAFETY: nothing reads the environment at the same time, because there is no other thread yet.
        unsafe {
            std::env::set_var("LC_CTYPE", "C.UTF-8");
        }
    }
}
