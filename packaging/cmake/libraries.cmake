# The libraries gyre stands on: packages of the distribution, see packaging/deps.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)

# gyre_package(PREFIX SPEC): PkgConfig::PREFIX, or a message that says how to get it.
function(gyre_package prefix spec)
    pkg_check_modules(${prefix} IMPORTED_TARGET GLOBAL ${spec})
    if(NOT ${prefix}_FOUND)
        message(FATAL_ERROR "${spec} is missing: run packaging/deps")
    endif()
endfunction()

gyre_package(URING "liburing>=2.9")
gyre_package(LLHTTP "libllhttp>=9.2")
gyre_package(INIH "inih")
gyre_package(CARES "libcares>=1.18")
gyre_package(SYSTEMD "libsystemd")
pkg_check_modules(CMOCKA IMPORTED_TARGET GLOBAL cmocka)

# liburing 2.9's header includes <linux/blkdev.h>, which kernel headers before 6.12 lack.
add_library(gyre_uring INTERFACE)
target_link_libraries(gyre_uring INTERFACE PkgConfig::URING)
check_include_file(linux/blkdev.h GYRE_HAVE_LINUX_BLKDEV_H)
if(NOT GYRE_HAVE_LINUX_BLKDEV_H)
    target_include_directories(gyre_uring SYSTEM INTERFACE
        ${PROJECT_SOURCE_DIR}/packaging/include-shim)
endif()
