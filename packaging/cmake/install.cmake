# cmake --install: the program, its man page and documents, its unit and user, and a first
# configuration.
# What is not written yet is left out.

set(packaging ${PROJECT_SOURCE_DIR}/packaging)
set(sample ${PROJECT_SOURCE_DIR}/conf/gyre.ini)

if(TARGET gyre)
    install(TARGETS gyre RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
endif()
if(EXISTS ${packaging}/gyre.8)
    install(FILES ${packaging}/gyre.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
endif()
if(EXISTS ${packaging}/refused.md)
    install(FILES ${packaging}/refused.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
if(EXISTS ${packaging}/gyre.sysusers)
    install(FILES ${packaging}/gyre.sysusers DESTINATION lib/sysusers.d RENAME gyre.conf)
endif()

# The unit names the program where it is installed.
if(EXISTS ${packaging}/gyre.service)
    install(CODE "
        file(READ \"${packaging}/gyre.service\" unit)
        string(REPLACE /usr/sbin/gyre
            \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}/gyre\" unit \"\${unit}\")
        file(WRITE \"${PROJECT_BINARY_DIR}/gyre.service\" \"\${unit}\")")
    install(FILES ${PROJECT_BINARY_DIR}/gyre.service DESTINATION lib/systemd/system)
endif()

# /etc for the prefixes of a system, PREFIX/etc for any other. What an administrator has written
# there stays as it is.
if(EXISTS ${sample})
    install(FILES ${sample} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
    install(CODE "
        set(etc \"\${CMAKE_INSTALL_PREFIX}/etc/gyre\")
        if(CMAKE_INSTALL_PREFIX MATCHES \"^/usr(/local)?/?\$\")
            set(etc /etc/gyre)
        endif()
        if(NOT EXISTS \"\$ENV{DESTDIR}\${etc}/gyre.ini\")
            file(INSTALL \"${sample}\" DESTINATION \"\${etc}\")
        endif()")
endif()
