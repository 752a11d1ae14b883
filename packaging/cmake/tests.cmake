# Tests: every tests/*/test_NAME.c is an executable of its own, found by its name.
#
#   tests/unit/test_X.c    real rooms           -> ctest "unit/X"
#   tests/sim/test_X.c     the simulated ring   -> ctest "sim/X"
#   tests/script/test_X.c  both, one after the other -> ctest "script/X" and "socket/X"; and the
#                          simulated ring with everything failing in turn -> "fault/X"
#   tests/fuzz/fuzz_X.c    a fuzz target; without libFuzzer replayed over its corpus -> "fuzz/X".
#                          On the simulated ring where it includes sim/ itself.
#
# A test is linked with the rooms whose headers it includes, so a room that does not build holds
# up its own tests only. Other files in tests/sim are the simulated ring (gyre_sim; toy_tls.c is
# gyre_toy_tls), other files in tests/script are shared by the scripts (gyre_script; socket_peer.c,
# which does on sockets what gyre_sim does for its own, is gyre_socket_peer).

set(GYRE_TEST_SECONDS 120 CACHE STRING "Time limit of one test executable")
set(tests ${PROJECT_SOURCE_DIR}/tests)

file(GLOB sim_sources CONFIGURE_DEPENDS ${tests}/sim/*.c)
list(FILTER sim_sources EXCLUDE REGEX "/(test_[^/]*|toy_tls)\\.c$")
file(GLOB toy_tls_sources CONFIGURE_DEPENDS ${tests}/sim/toy_tls.c)
file(GLOB script_sources CONFIGURE_DEPENDS ${tests}/script/*.c)
list(FILTER script_sources EXCLUDE REGEX "/(test_[^/]*|socket_peer)\\.c$")
file(GLOB socket_peer_sources CONFIGURE_DEPENDS ${tests}/script/socket_peer.c)

gyre_library(gyre_sim "${sim_sources}" "gyre_ring_core;gyre_base" "")
gyre_library(gyre_toy_tls "${toy_tls_sources}" "gyre_base" "")
gyre_library(gyre_script "${script_sources}" "gyre_worker" "")
gyre_library(gyre_socket_peer "${socket_peer_sources}" "gyre_base" "")
foreach(library IN ITEMS gyre_sim gyre_toy_tls gyre_script gyre_socket_peer)
    get_target_property(type ${library} TYPE)
    if(type STREQUAL "STATIC_LIBRARY")
        target_include_directories(${library} PRIVATE ${tests})
    endif()
endforeach()

# What the fuzzer is to explore is gyre, not the tests round it.
if(GYRE_FUZZ)
    file(GLOB fuzz_sources CONFIGURE_DEPENDS ${tests}/fuzz/fuzz_*.c)
    set_source_files_properties(
        ${sim_sources} ${toy_tls_sources} ${script_sources} ${fuzz_sources}
        PROPERTIES COMPILE_OPTIONS -fno-sanitize=fuzzer-no-link)
endif()

# The rooms that FILE includes, itself or by a header beside it, as gyre_ROOM targets in OUT.
function(gyre_rooms_of file out)
    set(rooms)
    get_filename_component(folder ${file} DIRECTORY)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(STRINGS ${file} lines REGEX "^#include \"")
    foreach(line IN LISTS lines)
        string(REGEX REPLACE "^#include \"([^\"]*)\".*" "\\1" header "${line}")
        if(header MATCHES "^(base|conf|net|http|upstream|exchange|admin|script)/")
            list(APPEND rooms gyre_${CMAKE_MATCH_1})
        elseif(header MATCHES "^(worker|plan)\\.h$")
            list(APPEND rooms gyre_worker)
        elseif(header MATCHES "^(ring|sim)/")
            list(APPEND rooms gyre_ring_door)
        elseif(header MATCHES "^tls/")
            list(APPEND rooms gyre_tls_door)
        elseif(EXISTS ${folder}/${header})
            gyre_rooms_of(${folder}/${header} more)
            list(APPEND rooms ${more})
        endif()
    endforeach()
    list(REMOVE_DUPLICATES rooms)
    set(${out} ${rooms} PARENT_SCOPE)
endfunction()

# gyre_test(NAME SIM source... [LIBS target...]): the executable NAME, a ctest of the same name.
function(gyre_test name sim)
    cmake_parse_arguments(ARG "" "" "LIBS" ${ARGN})
    set(rooms)
    foreach(source IN LISTS ARG_UNPARSED_ARGUMENTS)
        gyre_rooms_of(${source} more)
        list(APPEND rooms ${more})
    endforeach()
    string(REPLACE "/" "_" target "test_${name}")
    string(REGEX REPLACE "^test_unit_" "test_" target ${target})
    add_executable(${target} ${ARG_UNPARSED_ARGUMENTS})
    set_target_properties(${target} PROPERTIES GYRE_SIM ${sim})
    target_include_directories(${target} PRIVATE ${tests})
    target_compile_definitions(${target} PRIVATE
        GYRE_SOURCE_DIR="${PROJECT_SOURCE_DIR}" GYRE_ON_SIM=$<BOOL:${sim}>)
    target_link_libraries(${target} PRIVATE gyre_flags ${rooms} ${ARG_LIBS})
    add_test(NAME ${name} COMMAND ${target} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${GYRE_TEST_SECONDS})
endfunction()

# gyre_unit_test(NAME source... [LIBS target...]): on the real rooms, with cmocka.
function(gyre_unit_test name)
    gyre_test(${name} OFF ${ARGN})
    string(REPLACE "/" "_" target "test_${name}")
    string(REGEX REPLACE "^test_unit_" "test_" target ${target})
    target_link_libraries(${target} PRIVATE PkgConfig::CMOCKA)
endfunction()

# gyre_sim_test(NAME source... [LIBS target...]): on the simulated ring, with cmocka.
function(gyre_sim_test name)
    gyre_test(${name} ON ${ARGN})
    string(REPLACE "/" "_" target "test_${name}")
    target_link_libraries(${target} PRIVATE PkgConfig::CMOCKA)
endfunction()

# gyre_each(KIND OUT): the names X of tests/KIND/test_X.c.
function(gyre_each kind out)
    file(GLOB sources CONFIGURE_DEPENDS ${tests}/${kind}/test_*.c)
    list(TRANSFORM sources REPLACE "^.*/test_(.*)\\.c$" "\\1")
    set(${out} ${sources} PARENT_SCOPE)
endfunction()

if(CMOCKA_FOUND)
    gyre_each(unit names)
    foreach(name IN LISTS names)
        gyre_unit_test(unit/${name} ${tests}/unit/test_${name}.c)
    endforeach()
    gyre_each(sim names)
    foreach(name IN LISTS names)
        gyre_sim_test(sim/${name} ${tests}/sim/test_${name}.c)
    endforeach()
    gyre_each(script names)
    foreach(name IN LISTS names)
        gyre_sim_test(script/${name} ${tests}/script/test_${name}.c LIBS gyre_script)
        gyre_unit_test(socket/${name} ${tests}/script/test_${name}.c
            LIBS gyre_script gyre_socket_peer)
        gyre_sim_test(fault/${name} ${tests}/script/test_${name}.c LIBS gyre_script)
        target_compile_definitions(test_fault_${name} PRIVATE GYRE_FAULTS=1)
    endforeach()
else()
    message(STATUS "cmocka is missing, so no tests are built: run packaging/deps test")
endif()

# How long the fast path is, in instructions: of builds as they are released.
if(NOT sanitize AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    gyre_rooms_of(${tests}/fastpath/requests.c rooms)
    add_executable(fastpath ${tests}/fastpath/requests.c)
    set_target_properties(fastpath PROPERTIES GYRE_SIM ON GYRE_OPENSSL ON)
    target_include_directories(fastpath PRIVATE ${tests})
    target_link_libraries(fastpath PRIVATE gyre_flags ${rooms} OpenSSL::SSL)
    add_test(NAME fastpath COMMAND ${tests}/fastpath/run $<TARGET_FILE:fastpath>)
    add_test(NAME fastpath/apart COMMAND ${tests}/fastpath/apart $<TARGET_FILE:fastpath>)
    set_tests_properties(fastpath fastpath/apart PROPERTIES TIMEOUT ${GYRE_TEST_SECONDS})
endif()

# How many mutations of its corpus each target is given: some seconds of them, with sanitizers.
set(mutations_conf 15000)
set(mutations_exchange 10000)
set(mutations_tls 4000)
set(mutations_otherwise 100000)

file(GLOB fuzz_sources CONFIGURE_DEPENDS ${tests}/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzz_sources)
    string(REGEX REPLACE "^.*/fuzz_(.*)\\.c$" "\\1" name ${source})
    gyre_rooms_of(${source} rooms)
    add_executable(fuzz_${name} ${source})
    file(STRINGS ${source} on_sim REGEX "^#include \"sim/")
    if(on_sim)
        set_target_properties(fuzz_${name} PROPERTIES GYRE_SIM ON)
    endif()
    target_include_directories(fuzz_${name} PRIVATE ${tests})
    target_link_libraries(fuzz_${name} PRIVATE gyre_flags ${rooms})
    if(GYRE_FUZZ)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    else()
        target_sources(fuzz_${name} PRIVATE ${tests}/fuzz/replay.c)
        add_test(NAME fuzz/${name} COMMAND fuzz_${name} ${tests}/fuzz/corpus/${name})
        set(mutations ${mutations_${name}})
        if(NOT mutations)
            set(mutations ${mutations_otherwise})
        endif()
        set_tests_properties(fuzz/${name} PROPERTIES TIMEOUT ${GYRE_TEST_SECONDS}
                             ENVIRONMENT GYRE_FUZZ_MUTATIONS=${mutations})
    endif()
endforeach()
