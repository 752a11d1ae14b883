# How every file of ours is compiled: one INTERFACE library that the rooms and the tests link.

add_library(gyre_flags INTERFACE)
target_include_directories(gyre_flags INTERFACE
    ${PROJECT_SOURCE_DIR}/proxy ${PROJECT_SOURCE_DIR})
target_compile_definitions(gyre_flags INTERFACE
    _GNU_SOURCE GYRE_VERSION="${PROJECT_VERSION}")
target_compile_options(gyre_flags INTERFACE
    -Wall -Wextra -Wshadow -Wundef -Wvla -Wpointer-arith -Wwrite-strings -Wformat=2
    -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wimplicit-fallthrough
    $<$<BOOL:${GYRE_WERROR}>:-Werror>
    # Not CMake's -fPIC: a program's own functions need no indirection, and may be inlined.
    -fPIE
    # Logs and traces name files as the project does, wherever it is built.
    -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
target_link_options(gyre_flags INTERFACE -pie)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(gyre_flags INTERFACE -Wduplicated-cond -Wlogical-op)
endif()

set(sanitize "${GYRE_SANITIZE}")
if(GYRE_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "GYRE_FUZZ needs clang: cmake --preset fuzz")
    endif()
    set(sanitize "address,undefined")
    target_compile_options(gyre_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(sanitize)
    target_compile_options(gyre_flags INTERFACE
        -fsanitize=${sanitize} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(gyre_flags INTERFACE
        -fsanitize=${sanitize} -fno-sanitize-recover=all)
else()
    target_compile_options(gyre_flags INTERFACE
        -fstack-protector-strong
        $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
        $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
    target_link_options(gyre_flags INTERFACE -Wl,-z,relro,-z,now)
endif()

# Link-time optimization, of programs with the property GYRE_FAST: 6 % fewer instructions a request
# of gyre's own. Objects are fat, so that tests link them as ever, which is quicker. (What -O3 and
# -march=x86-64-v3 change in time can not be told from noise: bench/try.)
option(GYRE_LTO "Optimize gyre at link time (gcc, no sanitizers)" ON)
set(lto OFF)
if(GYRE_LTO AND NOT sanitize AND CMAKE_C_COMPILER_ID STREQUAL "GNU"
        AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    set(lto ON)
    target_compile_options(gyre_flags INTERFACE -flto=auto -ffat-lto-objects)
    target_link_options(gyre_flags INTERFACE
        $<IF:$<BOOL:$<TARGET_PROPERTY:GYRE_FAST>>,-flto=auto,-fno-lto>)
endif()
