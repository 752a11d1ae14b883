# gyre_room(): a folder becomes the library gyre_NAME.
#
# Two doors have two implementations: ring (io_uring, or the simulated one) and tls (OpenSSL, or a
# toy). What stands above them links gyre_ring_door and gyre_tls_door, and the *executable* says
# which implementation that is: its property GYRE_SIM chooses the simulated ring and the toy;
# GYRE_OPENSSL beside it, OpenSSL on the simulated ring.

# gyre_room(NAME FOLDER [ROOMS room...] [LIBS target...] [CORE file...])
#
# ROOMS  the rooms it may know, without "gyre_". LIBS: packages that only its own files may see.
# CORE   files that become gyre_NAME_core, a library of its own below gyre_NAME.
# A folder without sources is a room all the same, so that those above it can be linked.
function(gyre_room name folder)
    cmake_parse_arguments(ARG "" "" "ROOMS;LIBS;CORE" ${ARGN})
    list(TRANSFORM ARG_ROOMS PREPEND gyre_)
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.c)
    if(ARG_CORE)
        set(core ${sources})
        list(TRANSFORM ARG_CORE PREPEND ${PROJECT_SOURCE_DIR}/${folder}/)
        list(REMOVE_ITEM sources ${ARG_CORE})
        if(sources)
            list(REMOVE_ITEM core ${sources})
        endif()
        gyre_library(gyre_${name}_core "${core}" "${ARG_ROOMS}" "")
        list(APPEND ARG_ROOMS gyre_${name}_core)
    endif()
    gyre_library(gyre_${name} "${sources}" "${ARG_ROOMS}" "${ARG_LIBS}")
endfunction()

function(gyre_library target sources rooms libs)
    if(sources)
        add_library(${target} STATIC ${sources})
        target_link_libraries(${target} PUBLIC gyre_flags Threads::Threads ${rooms}
            PRIVATE ${libs})
    else()
        add_library(${target} INTERFACE)
        target_link_libraries(${target} INTERFACE gyre_flags Threads::Threads ${rooms})
    endif()
endfunction()

# Evaluated for the executable at the end of the chain. Not for anything that is only compiled:
# there the door is its header, and that is on everybody's include path.
set(sim "$<BOOL:$<TARGET_PROPERTY:GYRE_SIM>>")
add_library(gyre_ring_door INTERFACE)
target_link_libraries(gyre_ring_door INTERFACE $<IF:${sim},gyre_sim,gyre_ring>)
set(toy "$<AND:${sim},$<NOT:$<BOOL:$<TARGET_PROPERTY:GYRE_OPENSSL>>>>")
add_library(gyre_tls_door INTERFACE)
target_link_libraries(gyre_tls_door INTERFACE $<IF:${toy},gyre_toy_tls,gyre_tls>)
